/** Keeps what a worker's loop tells: the lines of its log, and what became of each try. */
import type { LogLevel } from '../config-keys.ts';
import type { Message } from '../message.ts';
import type { WorkerEvent } from '../worker/events.ts';
import type { LogFields, LogSink } from '../worker/log.ts';
import { toTryError } from '../try-error.ts';

/** One line that a worker has logged. */
export interface LogLine {
  level: LogLevel;
  text: string;
  /** What the worker said of it, and which message it is about. */
  fields: LogFields;
}

/** What became of one try of a message. */
export type Try =
  | { outcome: 'completed'; message: Message }
  | { outcome: 'retried' | 'failed'; message: Message; error: unknown };

export class Recorder {
  readonly logs: LogLine[] = [];
  /** By uuid, in the order of the tries. */
  readonly tries = new Map<string, Try[]>();
  readonly #retried = new Set<string>();

  /** Uuids of the messages that are still to be tried again, in the order of their last tries; each is told once. */
  takeRetried(): string[] {
    const uuids = [...this.#retried];
    this.#retried.clear();
    return uuids;
  }

  readonly sink: LogSink = (level, text, fields) => {
    this.logs.push({ level, text, fields });
  };

  readonly onEvent = (event: WorkerEvent): void => {
    switch (event.type) {
      case 'completed': {
        const { token: _, ...message } = event.message;
        return this.#note({ outcome: 'completed', message });
      }
      case 'failed': {
        const { token: _, ...message } = event.message;
        const outcome = event.final ? 'failed' : 'retried';
        return this.#note({ outcome, message, error: event.error });
      }
      case 'hook':
        // As `queue-worker` does: what a hook throws is logged, and changes nothing.
        return this.sink('ERROR', `${event.hook}() threw: ${textOf(event.error)}`, aboutOf(event.message));
      case 'trouble':
        return this.sink('ERROR', `${event.during}: ${textOf(event.error)}`, {});
      case 'started':
      case 'ended':
      case 'released':
      case 'lost':
    }
  };

  #note(one: Try): void {
    const tries = this.tries.get(one.message.uuid);
    if (tries) tries.push(one);
    else this.tries.set(one.message.uuid, [one]);
    this.#retried.delete(one.message.uuid);
    if (one.outcome === 'retried') this.#retried.add(one.message.uuid);
  }
}

/** Whatever was thrown. */
function textOf(thrown: unknown): string {
  return toTryError(thrown, 1, Date.now()).message;
}

function aboutOf(message: Message | undefined): LogFields {
  return message === undefined ? {} : { uuid: message.uuid };
}
