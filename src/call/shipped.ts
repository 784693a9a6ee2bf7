/** The methods that ship: three special ones, and those with which any language can work with queues. */
import { QueueError, quote } from '../errors.ts';
import type { Json } from '../message.ts';
import type { QueueManager } from '../queue-manager.ts';
import { nearest } from '../suggest.ts';
import { checkCallOptions, checkFilter, checkQueueName, checkText, checkWhole } from '../validate.ts';
import { CODES } from './codes.ts';
import { CallMethod, type CallMethodClass } from './method.ts';

/** Answers calls of names that there are not. */
export class NotFound extends CallMethod {
  override execute(): void {
    const near = nearest(this.callName, this.server.methods);
    const hint = near === undefined ? `there are ${this.server.methods.join(', ')}` : `did you mean ${near}?`;
    const message = `there is no method ${quote(this.callName)}; ${hint}`;
    this.fail(CODES.UNKNOWN_METHOD, message, { error: 'UNKNOWN_METHOD' });
  }
}

/** For clients to try their side of the connection: answers with the arguments that came. */
export class Test extends CallMethod {
  override execute(): void {
    this.succeed('received', { args: this.args });
  }
}

/** What health checks call. */
export class Verify extends CallMethod {
  override execute(): void {
    this.succeed('sound');
  }
}

const ADD = [
  'queue',
  'data',
  'alias',
  'retries',
  'dateTimeDeferredExecution',
  'disabled',
  'username',
] as const;
const FIND = ['queue', 'uuid', 'alias', 'state', 'disabled', 'username', 'limit'] as const;
/** Messages of one answer. */
const MOST_FOUND = 1000;
const USUALLY_FOUND = 100;
/** Characters of payloads, as JSON, after which an answer is long enough. */
const LONG_ENOUGH = 1024 ** 2;

/** The methods by their names. */
export function queueMethods(queues: QueueManager): Record<string, CallMethodClass> {
  return {
    /** `args`: `queue`, and what `addMessage` takes. Answers with the message, `duplicate` if it was there. */
    'queue.add': class extends CallMethod {
      override async execute(): Promise<void> {
        const { queue, dateTimeDeferredExecution: due, ...message } = argsOf(this, ADD);
        const added = await queues.addMessage(queue, {
          ...(message as { data: Json }),
          ...(due === undefined || due === null ? {} : { dateTimeDeferredExecution: dateOf(due, queue) }),
        });
        this.succeed(added.duplicate ? 'was there already' : 'added', { ...added, data: undefined });
      }
    },
    /** `args`: `queue`. Answers with its `QueueStatus`. */
    'queue.status': class extends CallMethod {
      override async execute(): Promise<void> {
        const { queue } = argsOf(this, ['queue']);
        this.succeed('', await queues.queueStatus(queue));
      }
    },
    /** `args`: `queue`, a `MessageFilter`, `limit`. Answers with `{ messages, more }`. */
    'queue.find': class extends CallMethod {
      override async execute(): Promise<void> {
        const { queue, limit = USUALLY_FOUND, ...filter } = argsOf(this, FIND);
        const most = checkWhole('limit', limit, 1, MOST_FOUND, queue);
        this.succeed('', await find(queues, queue, checkFilter(filter, queue), most));
      }
    },
  };
}

async function find(
  queues: QueueManager,
  queue: string,
  filter: ReturnType<typeof checkFilter>,
  most: number,
): Promise<{ messages: object[]; more: boolean }> {
  const messages: object[] = [];
  let length = 0;
  for await (const message of queues.findMessages(queue, filter)) {
    if (messages.length === most || length > LONG_ENOUGH) return { messages, more: true };
    // Where somebody's code lies is nothing for callers; what is undefined is left out.
    messages.push({ ...message, errors: message.errors.map((error) => ({ ...error, stack: undefined })) });
    length += JSON.stringify(message.data).length;
  }
  return { messages, more: false };
}

/** The arguments of a method that works on a queue, each known by name. */
function argsOf<Name extends string>(
  { args, callName }: CallMethod,
  names: readonly Name[],
): { readonly [N in Name]?: unknown } & { readonly queue: string } {
  if (!Object.hasOwn(args, 'queue'))
    throw new QueueError(
      'INVALID_ARGUMENT',
      `${callName}: expected the name of a queue as args.queue, received none`,
    );
  const given = checkCallOptions(args, names, checkText('queue', args['queue'], ''));
  checkQueueName(args['queue']);
  return given as { readonly [N in Name]?: unknown } & { readonly queue: string };
}

/** ISO 8601, with a zone: another language's idea of local time is not this one's. */
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)$/;

function dateOf(value: unknown, queue: string): Date {
  const date = new Date(typeof value === 'string' && INSTANT.test(value) ? value : Number.NaN);
  if (!Number.isNaN(date.getTime())) return date;
  throw new QueueError(
    'INVALID_MESSAGE',
    `dateTimeDeferredExecution: expected a time such as 2026-12-24T18:00:00Z, received ${quote(value)}`,
    { queue },
  );
}
