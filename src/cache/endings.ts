/**
 * Waiting for the end of certain messages. Every outcome that the log tells while somebody waits is kept for them,
 * however many come at once; only a reload from a head leaves a gap, which the remembered outcomes cover as far as they go.
 */
import type { Ending } from '../backend.ts';
import type { StoredMessage } from './contents.ts';
import type { Journal } from './journal.ts';
import type { OutcomeEntry } from './operations.ts';
import type { Search } from './search.ts';
import type { QueueState } from './state.ts';
import type { Waiting } from './waiting.ts';

interface Found {
  at: number;
  alias: string;
}

/** What is known of a message whose end is waited for. */
interface Awaited {
  uuid: string;
  /** Undefined: it was not in the queue when it was looked for. */
  found: Found | undefined;
}

export class Endings {
  readonly #journal: Journal;
  readonly #search: Search;
  readonly #waiting: Waiting;
  readonly #watchers = new Set<Map<string, OutcomeEntry | undefined>>();

  constructor(journal: Journal, search: Search, waiting: Waiting) {
    this.#journal = journal;
    this.#search = search;
    this.#waiting = waiting;
  }

  async *of(uuids: readonly string[], signal: AbortSignal | undefined): AsyncGenerator<Ending> {
    const outcomes = new Map<string, OutcomeEntry | undefined>(uuids.map((uuid) => [uuid, undefined]));
    this.#watchers.add(outcomes);
    try {
      await this.#journal.refresh();
      let state = this.#watched(outcomes);
      const found = await this.#search.allByUuid(new Set(uuids));
      let open: Awaited[] = [...outcomes.keys()].map((uuid) => ({ uuid, found: foundOf(found.get(uuid)) }));
      const ended = new Map<string, Ending>();
      const look = (): boolean => {
        // A state that was loaded anew has not told of what came before it.
        const reloaded = this.#journal.state !== state;
        if (reloaded) state = this.#watched(outcomes);
        open = open.filter((awaited) => {
          const ending = endingOf(awaited, state, outcomes.get(awaited.uuid), reloaded);
          if (ending) ended.set(awaited.uuid, ending);
          return !ending;
        });
        return ended.size > 0;
      };
      for (;;) {
        if (!(await this.#waiting.until(() => look() || open.length === 0, signal))) return;
        yield* ended.values();
        ended.clear();
        if (open.length === 0) return;
      }
    } finally {
      this.#watchers.delete(outcomes);
    }
  }

  /** The present state, made to tell outcomes from here on; what it remembers is told now. */
  #watched(outcomes: Map<string, OutcomeEntry | undefined>): QueueState {
    const { state } = this.#journal;
    state.watchers = this.#watchers;
    for (const entry of state.outcomes) if (outcomes.has(entry.u)) outcomes.set(entry.u, entry);
    return state;
  }
}

/** Without the payload, which need not stay in memory. */
function foundOf(stored: StoredMessage | undefined): Found | undefined {
  return stored && { at: stored.at, alias: stored.content.a ?? '' };
}

/** Undefined while there is more to come. */
function endingOf(
  { uuid, found }: Awaited,
  state: QueueState,
  outcome: OutcomeEntry | undefined,
  reloaded: boolean,
): Ending | undefined {
  if (outcome) return { uuid, alias: outcome.a, outcome: outcome.o, at: new Date(outcome.t) };
  if (!found) return { uuid, alias: '', outcome: 'unknown' };
  const { alias } = found;
  const life = state.lifeOf(found.at);
  // What ends a message without naming it is a purge.
  if (!life) return { uuid, alias, outcome: reloaded ? 'unknown' : 'purged' };
  if (life.phase.state !== 'failed') return undefined;
  const failedAt = life.errors.at(-1)?.at;
  return { uuid, alias, outcome: 'failed', ...(failedAt && { at: new Date(failedAt) }) };
}
