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
  /** Bytes that wait for a client to read; the system keeps some more for it. */
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
    const end = (): void => {
      response.end();
    };
    this.#open.add(end);
    let most = Infinity;
    const send = (text: string): void => {
      if (response.writableEnded || response.destroyed) return;
      response.write(text);
      // Breaks the connection off, so that the client comes back for what it has missed.
      if (response.writableLength > most) response.destroy();
    };
    const tell = (event: SupervisorEvent): void => send(textOf(event, life));
    send(`retry: ${RETRY}\n\n`);
    if (first !== undefined) for (const event of this.#control.eventsSince(first)) tell(event);
    // What is kept is bounded, and comes on top.
    most = response.writableLength + this.#limits.unread;
    const off = this.#control.onEvent(tell);
    const heartbeat = setInterval(() => send(':\n\n'), this.#limits.heartbeat).unref();
    const leave = (): void => {
      off();
      clearInterval(heartbeat);
      this.#open.delete(end);
    };
    if (response.destroyed) leave();
    else response.once('close', leave);
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
