/** Adds: the messages of one call go into the log together, as one submission of many records. */
import type { Added, NewMessage, QueueOptions } from '../backend.ts';
import { QueueError } from '../errors.ts';
import type { Json } from '../message.ts';
import type { Submission } from './submission.ts';
import type { Draft } from './log.ts';
import type { Random } from './ports.ts';
import type { Effect, Header, QueueState } from './state.ts';

/** A submission goes out in one write: what is longer is cut into several of about this many bytes. */
const GROUP_BYTES = 256 * 1024;

/** Cuts the messages of a call into submissions, in order. */
export function groupAdds(messages: readonly NewMessage[]): (readonly NewMessage[])[] {
  const end = endOfGroup(messages, 0);
  // Most calls are one submission, and need no copy.
  if (end === messages.length) return end === 0 ? [] : [messages];
  const groups = [messages.slice(0, end)];
  for (let from = end; from < messages.length;) {
    const to = endOfGroup(messages, from);
    groups.push(messages.slice(from, to));
    from = to;
  }
  return groups;
}

function endOfGroup(messages: readonly NewMessage[], from: number): number {
  let bytes = 0;
  let end = from;
  while (end < messages.length && bytes <= GROUP_BYTES) bytes += messages[end++]!.json.length + 200;
  return end;
}

/** What all adds of a queue have in common. */
export interface AddContext {
  queue: string;
  random: Random;
  /** Finds the message at a position that an add was refused for, and could not be read at once. */
  duplicate: (at: number, message: NewMessage) => Promise<Added>;
}

/** How the caller is answered. */
interface Answer {
  resolve: (added: Added[]) => void;
  reject: (error: QueueError) => void;
}

export class AddGroup implements Submission {
  readonly purpose = 'add';
  readonly synced = true;
  readonly current = false;
  readonly light: boolean;
  readonly size: number;
  readonly #messages: readonly NewMessage[];
  readonly #drafts: readonly Draft[];
  readonly #context: AddContext;
  readonly #options: QueueOptions;
  readonly #answer: Answer;
  readonly #added: Added[] = [];
  #open: number;
  #error: QueueError | undefined;

  /** @param state at the time of the call. */
  constructor(messages: readonly NewMessage[], context: AddContext, state: QueueState, answer: Answer) {
    this.#messages = messages;
    this.#context = context;
    this.#options = state.options;
    this.#answer = answer;
    this.#open = messages.length;
    this.light = !state.needsWhole;
    this.#drafts = messages.map((message) => draftOf(message, context.random.uuid()));
    this.size = messages.reduce((sum, { json }) => sum + json.length, 0);
  }

  draft(): readonly Draft[] {
    return this.#drafts;
  }

  /** Some records were cut off by a full disk: they are written again by themselves. */
  rest(indices: readonly number[]): Submission {
    const drafts = indices.map((index) => this.#drafts[index]!);
    return {
      purpose: 'add',
      synced: true,
      current: false,
      light: this.light,
      size: drafts.reduce((sum, { json }) => sum + json!.length, 0),
      draft: () => drafts,
      rest: (some) => this.rest(some.map((i) => indices[i]!)),
      done: (effect, time, i) => this.done(effect, time, indices[i]!),
      failed: (error) => {
        for (const _ of indices) this.#settle(error);
      },
    };
  }

  done(effect: Effect, time: number, index: number): void {
    const { queue } = this.#context;
    switch (effect.kind) {
      case 'added':
        this.#added[index] = addedOf(this.#messages[index]!, this.#drafts[index]!, time);
        return this.#settle(undefined);
      case 'duplicate':
        if (!effect.message) return this.#lookAgain(effect.at, index);
        this.#added[index] = { ...effect.message, duplicate: true };
        return this.#settle(undefined);
      case 'full': {
        const text = `this queue holds as much as its ${effect.limit} of ${this.#options[effect.limit]} allows`;
        return this.#settle(new QueueError('QUEUE_FULL', text, { queue }));
      }
      default:
        return this.#settle(
          new QueueError('QUEUE_DESTROYED', 'this queue was destroyed while it was in use', { queue }),
        );
    }
  }

  #lookAgain(at: number, index: number): void {
    this.#context.duplicate(at, this.#messages[index]!).then(
      (added) => {
        this.#added[index] = added;
        return this.#settle(undefined);
      },
      (error: QueueError) => this.#settle(error),
    );
  }

  failed(error: QueueError): void {
    this.#error ??= error;
    this.#open = 0;
    this.#answer.reject(this.#error);
  }

  /** The call is answered when all of it is: no record of it appears after its error. */
  #settle(error: QueueError | undefined): void {
    this.#error ??= error;
    if (--this.#open > 0) return;
    if (this.#error) this.#answer.reject(this.#error);
    else this.#answer.resolve(this.#added);
  }
}

function draftOf({ json, alias, retries, due, disabled, username }: NewMessage, uuid: string): Draft {
  // One shape for all: what is undefined is not written. The log fills in the last four.
  const op: Header = {
    op: 'add',
    u: uuid,
    a: alias === '' ? undefined : alias,
    r: retries === 0 ? undefined : retries,
    d: due,
    x: disabled ? 1 : undefined,
    by: username === '' ? undefined : username,
    w: '',
    n: 0,
    t: 0,
    s: undefined,
  };
  return { op, json };
}

function addedOf(message: NewMessage, { op }: Draft, time: number): Added {
  const { json, data = JSON.parse(json) as Json, alias, retries, due, disabled, username } = message;
  const added: Added = {
    uuid: (op as { u: string }).u,
    alias,
    data,
    retries,
    executionMode: due === undefined ? 'immediate' : 'deferred',
    disabled,
    username,
    insertedAt: new Date(time),
    state: due === undefined || due <= time ? 'ready' : 'deferred',
    attempts: 0,
    crashes: 0,
    errors: [],
    duplicate: false,
  };
  if (due !== undefined) added.dateTimeDeferredExecution = new Date(due);
  return added;
}
