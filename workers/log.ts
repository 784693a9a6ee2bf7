/** A worker that ships: logs each message at INFO, and completes it. To look at what is in a queue by using it up. */
import { Worker, type Message, type WorkerContext } from 'coda-queue';

/** Characters of the data as JSON. */
const LONGEST = 1000;

export default class Log extends Worker {
  override process({ uuid, data }: Message, { log }: WorkerContext): void {
    const json = JSON.stringify(data);
    // The log itself names the alias.
    log.info(`${uuid}: ${json.length > LONGEST ? `${json.slice(0, LONGEST)}…` : json}`);
  }
}
