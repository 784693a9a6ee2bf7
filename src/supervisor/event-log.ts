/** What happens to children, numbered, the last of it kept, and told to who listens; and its wording in the log. */
import { messageOf } from '../daemon/outcome.ts';
import { escapeControls, quote } from '../errors.ts';
import type { Json } from '../message.ts';
import type { LogSink } from '../worker/log.ts';
import type { SupervisorEvent } from './shape.ts';

const MOST_KEPT = 1000;

export class EventLog {
  readonly #log: LogSink;
  readonly #now: () => number;
  readonly #listeners = new Set<(event: SupervisorEvent) => void>();
  #kept: SupervisorEvent[] = [];
  #last = 0;

  constructor(log: LogSink, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  tell(
    type: SupervisorEvent['type'],
    about: { process?: string | undefined; child?: string | undefined },
    data: Json = {},
  ): void {
    const { process, child } = about;
    const event = Object.freeze({
      id: ++this.#last,
      at: new Date(this.#now()),
      type,
      process,
      child,
      data,
    });
    this.#kept.push(event);
    // Not one by one: each would move all the others.
    if (this.#kept.length > MOST_KEPT * 2) this.#kept = this.#kept.slice(-MOST_KEPT);
    logEvent(this.#log, event);
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        // Somebody's mistake must cost no child its place in this list.
        this.#log('ERROR', `who listens to events has thrown: ${escapeControls(messageOf(error))}`, {});
      }
    }
  }

  listen(listener: (event: SupervisorEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  since(id: number): SupervisorEvent[] {
    return this.#kept.slice(-MOST_KEPT).filter((event) => event.id >= id);
  }
}

function logEvent(log: LogSink, { type, process, child, data }: SupervisorEvent): void {
  const about = { process, child };
  const of = (key: string): Json => (data as Record<string, Json>)[key] ?? null;
  const text = (key: string): string => {
    const value = of(key);
    return typeof value === 'string' ? escapeControls(value) : JSON.stringify(value);
  };
  switch (type) {
    case 'starting':
      return log('DEBUG', 'starting', { ...about, pid: of('pid') });
    case 'running':
      return log('INFO', 'running', { ...about, pid: of('pid') });
    case 'ended':
      return of('failed') === true
        ? log('ERROR', `has failed: it ${text('why')}`, about)
        : log('INFO', `has come to its end: it ${text('why')}`, about);
    case 'waiting':
      return log('INFO', `begins again in ${Number(of('delay'))} ms`, about);
    case 'failed':
      return log('FATAL', `stays down until it is reset: ${text('why')}`, about);
    case 'stopping':
      return of('why') === null
        ? log('DEBUG', 'stopping', about)
        : log('WARN', `is ended: it ${text('why')}`, about);
    case 'stopped':
      return log('INFO', 'stopped', about);
    case 'unhealthy':
      return log('WARN', `is not well: ${text('why')}`, about);
    case 'scaled':
      return log('INFO', `has ${text('to')} children from now on, after ${text('from')}`, {
        ...about,
        by: of('by'),
      });
    case 'added':
    case 'removed':
      return log('INFO', type, { ...about, by: of('by') });
    case 'told':
      return log('DEBUG', `tells ${quote(of('event'))}`, about);
    case 'control':
      return log('INFO', `${text('action')} is asked for`, { ...about, by: of('by') });
  }
}
