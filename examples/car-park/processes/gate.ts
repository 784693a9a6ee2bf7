/** A camera at a gate: reads the plate of each car that passes, and puts it into the queue. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ManagedProcess, type Json } from 'coda-queue';

/** Cars that come and go, for there is no real camera. */
const PLATES = ['ROMA 17', 'PISA 4', 'BARI 23', 'COMO 9', 'ASTI 31'];

interface Params {
  /** As config.ini says it: text. */
  direction: 'in' | 'out';
  /** Between two cars, such as `2s`. */
  every: string;
}

export default class Gate extends ManagedProcess<Params> {
  #passed = 0;

  override async run(signal: AbortSignal): Promise<void> {
    const pause = Number.parseFloat(this.params.every) * 1000;
    for (let i = 0; !signal.aborted; i++) {
      // A wait that ends with the wish to stop.
      await sleep(pause, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#read(PLATES[i % PLATES.length]!);
      } catch (error) {
        // A camera goes on, whatever becomes of one car: the queue is not there yet, or the disk is full.
        this.log.warn(`a car was not booked: ${(error as Error).message}`);
      }
    }
  }

  /** `queue-daemon ctl command gate-in pass '{"plate":"PISA 4"}'`: a car that is sent through by hand. */
  async commandPass(args: Json): Promise<Json> {
    const { plate } = (args ?? {}) as { plate?: unknown };
    if (typeof plate !== 'string' || !/^[A-Z0-9 ]{2,12}$/.test(plate))
      throw new Error(`expected { plate }, 2 to 12 letters and digits, received ${JSON.stringify(args)}`);
    return { uuid: await this.#read(plate) };
  }

  /** Shown by /api/status. */
  commandStatus(): Json {
    return { direction: this.params.direction, passed: this.#passed };
  }

  async #read(plate: string): Promise<string> {
    const data = { plate, direction: this.params.direction };
    const { uuid } = await this.sendQueue('anpr', data, { alias: plate, retries: 3 });
    this.#passed++;
    this.emit('passed', data);
    return uuid;
  }
}
