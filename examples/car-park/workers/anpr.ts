/** Books each plate that a camera has read. */
import { Worker, type Message, type WorkerContext } from 'coda-queue';
import { book, type Passage } from '../park.ts';

export default class Anpr extends Worker<Pick<Passage, 'plate' | 'direction'>> {
  override async process(
    { uuid, data, insertedAt }: Message<Pick<Passage, 'plate' | 'direction'>>,
    { log }: WorkerContext,
  ): Promise<void> {
    await book({ ...data, at: insertedAt.toISOString() }, uuid);
    log.info(`${data.plate} is ${data.direction}`);
  }
}
