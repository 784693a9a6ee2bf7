/**
 * A worker that ships as an example, and that `npm start` runs: reads of number plates, as cameras at a car park send
 * them. It says what it would do with each, and does nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { FinalError, Worker, type Message, type WorkerContext } from 'coda-queue';

interface PlateRead {
  plate: string;
  camera: string;
  lane: 'in' | 'out';
  readAt: string;
  /** 0 to 1. */
  confidence: number;
  /** The first try finds the gate's controller busy, so that a retry can be watched. */
  busyOnce?: boolean;
}

export default class Anpr extends Worker<PlateRead> {
  override async process(
    { data }: Message<PlateRead>,
    { attempt, log, signal }: WorkerContext,
  ): Promise<void> {
    const { plate, camera, lane, confidence } = data;
    if (typeof plate !== 'string' || plate === '') throw new FinalError('expected a plate, received none');
    // Stands for the time that asking a gate takes; ends early when the worker is told to stop.
    await sleep(120, undefined, { signal });
    if (data.busyOnce === true && attempt === 1) throw new Error(`the gate at ${camera} is busy`);
    if (confidence < 0.6)
      log.info(`${plate} at ${camera}: read with doubt (${confidence}), would ask the guard`);
    else
      log.info(
        `${plate} at ${camera}: would ${lane === 'in' ? 'open the gate' : 'charge the stay and open the gate'}`,
      );
  }
}
