/**
 * Events as server-sent events. The id of each begins with the life of the supervisor that it belongs to, so that a client
 * which comes back after a restart is not told that it has seen what it has not. A client that does not read is let go.
 */
import type { ServerResponse } from 'node:http';
import type { SupervisorControl, SupervisorEvent } from '../supervisor/shape.ts';
import { Refusal } from './refusal.ts';
import { eventView } from './views.ts';

export interface StreamLimits {
  readonly clients: number;
  /** Bytes of what has happened since a client came that wait for it to read. */
  readonly unread: number;
  /** Milliseconds between two signs of life: proxies cut connections that are silent for long. */
  readonly heartbeat: number;
}

const USUAL: StreamLimits = { clients: 64, unread: 1024 ** 2, heartbeat: 15_000 };
/** Milliseconds after which a client that was cut off comes back. */
const RETRY = 2000;
const ID = /^(?:([0-9a-z]{1,12})-)?(\d{1,15})$/;

export class EventStreams {
  readonly #control: SupervisorControl;
  readonly #limits: StreamLimits;
  readonly #open = new Set<() => void>();

  constructor(control: SupervisorControl, limits: StreamLimits = USUAL) {
    this.#control = control;
    this.#limits = limits;
  }

  /**
   * Prepares a stream of all events after the one with the id `last`, as far as they are kept; without it, of those that come
   * from now on. It begins when the function is called with the response, which it ends. Throws a `Refusal`.
   */
  prepare(last: string | undefined): (response: ServerResponse) => void {
    const life = this.#control.status().startedAt.getTime().toString(36);
    const first = last === undefined ? undefined : firstAfter(last, life);
    const { clients } = this.#limits;
    if (this.#open.size >= clients) {
      const message = `expected at most ${clients} clients for events at a time; try again later`;
      throw new Refusal(503, 'TOO_MANY_CLIENTS', message, { 'Retry-After': '10' });
    }
    return (response) => this.#begin(response, life, first);
  }

  /** Ends all of them. */
  close(): void {
    for (const end of this.#open) end();
  }

  #begin(response: ServerResponse, life: string, first: number | undefined): void {
    const client = new Client(response, this.#control, life, this.#limits.unread);
    const end = (): void => {
      response.end();
    };
    this.#open.add(end);
    client.begin(first);
    const off = this.#control.onEvent((event) => client.tell(event));
    const heartbeat = setInterval(() => client.say(':\n\n'), this.#limits.heartbeat).unref();
    const leave = (): void => {
      off();
      clearInterval(heartbeat);
      this.#open.delete(end);
    };
    if (response.destroyed) leave();
    else response.once('close', leave);
  }
}

/**
 * One that listens. What is kept of the past is sent no faster than it reads, and what happens meanwhile is taken from what is
 * kept too: so a client costs no memory for what it has not read.
 */
class Client {
  readonly #response: ServerResponse;
  readonly #control: SupervisorControl;
  readonly #life: string;
  readonly #mostUnread: number;
  /** The id of the event that it gets next; undefined: the next that happens. */
  #next: number | undefined;
  /** Events that are kept wait until it reads. */
  #isBehind = false;
  /** The id of the first event that has happened since it came. */
  #present: number | undefined;
  /** Bytes of events that have happened since, and wait. */
  #unread = 0;

  constructor(response: ServerResponse, control: SupervisorControl, life: string, mostUnread: number) {
    this.#response = response;
    this.#control = control;
    this.#life = life;
    this.#mostUnread = mostUnread;
  }

  /** @param first the id of the first event that it wants; undefined: the next that happens. */
  begin(first: number | undefined): void {
    this.#next = first;
    this.say(`retry: ${RETRY}\n\n`);
    this.#response.on('drain', () => this.#catchUp());
    if (first !== undefined) this.#catchUp();
  }

  /** Must be told of each event. */
  tell(event: SupervisorEvent): void {
    if (this.#isOver) return;
    this.#present ??= event.id;
    this.#next ??= event.id;
    const text = textOf(event, this.#life);
    this.#isBehind ||= this.#response.writableNeedDrain;
    if (!this.#isBehind) {
      this.#next = event.id + 1;
      this.say(text);
      return;
    }
    this.#unread += Buffer.byteLength(text);
    // Breaks the connection off, so that the client comes back for what it has missed.
    if (this.#unread > this.#mostUnread) this.#response.destroy();
  }

  say(text: string): void {
    if (!this.#isOver) this.#response.write(text);
  }

  #catchUp(): void {
    if (this.#isOver || this.#next === undefined) return;
    for (const event of this.#control.eventsSince(this.#next)) {
      this.#isBehind = this.#response.writableNeedDrain;
      if (this.#isBehind) return;
      const text = textOf(event, this.#life);
      if (this.#present !== undefined && event.id >= this.#present) this.#unread -= Buffer.byteLength(text);
      this.#next = event.id + 1;
      this.say(text);
    }
    this.#isBehind = false;
    this.#unread = 0;
  }

  get #isOver(): boolean {
    return this.#response.writableEnded || this.#response.destroyed;
  }
}

/** The id of the first event that is wanted. Of another life, it is all that are kept. */
function firstAfter(last: string, life: string): number {
  const [, of = life, id] = ID.exec(last) ?? [];
  if (id === undefined)
    throw new Refusal(422, 'INVALID_REQUEST', 'Last-Event-ID: expected the id of an event');
  return of === life ? Number(id) + 1 : 1;
}

/** JSON has no line breaks, so that nothing in an event can end it, or begin another. */
function textOf(event: SupervisorEvent, life: string): string {
  return `id: ${life}-${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(eventView(event))}\n\n`;
}
