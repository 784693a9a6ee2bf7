/**
 * What must be on the disk after a cut, by the notes of the actors: what had been acknowledged before the cut began, as
 * far as the durability promises it.
 */
import type { Durability } from '../../src/backend.ts';
import { now, readNotes, sizeOf, type Note } from './notes.ts';

/** Milliseconds between flushes under `interval`. */
export const SYNC_INTERVAL = 50;
/** `os`: Linux begins to write out what is half a minute old, looks every five seconds, and commits as often. */
const SYSTEM_MS = 45_000;

/** How far each actor had come at a moment. */
export interface Mark {
  at: number;
  sizes: ReadonlyMap<string, number>;
}

/** To be called right before the cut, and right after it. */
export function markNotes(paths: readonly string[]): Mark {
  // The time first: what is acknowledged afterwards is younger than nothing.
  return { at: now(), sizes: new Map(paths.map((path) => [path, sizeOf(path)])) };
}

interface Acknowledged {
  /** When it was added. */
  at: number;
  version: number;
  versionAt: number;
  actor: Actor;
}

/** What is known of one actor's flushes. */
interface Actor {
  /** What was acknowledged earlier had been flushed before the cut. */
  flushed: number;
  /** Milliseconds that may be missing. */
  window: number;
}

interface Loss {
  id: string;
  /** Milliseconds between the acknowledgement and the cut. */
  age: number;
}

export interface Verdict {
  /** Messages that were acknowledged and that nobody may have ended. */
  acknowledged: number;
  lost: Loss[];
  /** Sentences; none when all is as promised. */
  broken: string[];
}

/** A message as it was found. */
export interface Found {
  id: string;
  version: number;
}

export class Account {
  readonly #durability: Durability;
  readonly #mark: Mark;
  readonly #acknowledged = new Map<string, Acknowledged>();
  readonly #tried = new Set<string>();
  readonly #asked = new Map<string, number>();
  readonly #ending = new Set<string>();
  readonly #ended = new Map<string, { at: number; actor: Actor }>();
  readonly #queues = new Map<string, 'there' | 'gone' | 'either'>();
  /** Calls under way that may have ended any message. */
  #taking = 0;

  /** What had been acknowledged before the cut must be on the disk; what had begun until after it, may be. */
  constructor(durability: Durability, mark: Mark, after: Mark) {
    this.#durability = durability;
    this.#mark = mark;
    for (const [path, size] of mark.sizes) {
      const all = readNotes(path, after.sizes.get(path));
      const before = readNotes(path, size);
      const actor = this.#actorOf(readNotes(path), before);
      for (const [i, note] of all.entries()) this.#take(note, i < before.length, actor);
    }
  }

  #actorOf(all: readonly Note[], before: readonly Note[]): Actor {
    let flushed = 0;
    for (const { what, words } of before) if (what === 'flushed') flushed = Math.max(flushed, words[0]);
    return { flushed, window: this.#windowOf(all) };
  }

  /** The promised time; and under `interval` what flushes have taken, and what has held up the timer. */
  #windowOf(notes: readonly Note[]): number {
    if (this.#durability === 'always') return 0;
    if (this.#durability === 'os') return SYSTEM_MS;
    let longest = 0;
    let stalled = 0;
    let began: number | undefined;
    const end = now();
    for (const { what, words } of notes) {
      if (what === 'error') throw new Error(words[0]);
      if (what === 'stalled') stalled = Math.max(stalled, words[0]);
      if (what === 'flushing') {
        if (began !== undefined) longest = Math.max(longest, words[0] - began);
        began = words[0];
      }
    }
    if (began !== undefined) longest = Math.max(longest, end - began);
    return SYNC_INTERVAL + 2 * longest + stalled;
  }

  #take({ what, words }: Note, before: boolean, actor: Actor): void {
    switch (what) {
      case 'try':
        this.#tried.add(words[0]);
        break;
      case 'added':
        if (before) {
          const [id, at] = words;
          this.#acknowledged.set(id, { at, version: 0, versionAt: at, actor });
        }
        break;
      case 'changing':
        this.#asked.set(words[0], words[1]);
        break;
      case 'changed': {
        const known = this.#acknowledged.get(words[0]);
        if (before && known) Object.assign(known, { version: words[1], versionAt: words[2] });
        break;
      }
      case 'ending':
        this.#ending.add(words[0]);
        break;
      case 'ended':
        if (before) this.#ended.set(words[0], { at: words[1], actor });
        break;
      case 'taking':
        this.#taking++;
        break;
      case 'taken':
        this.#taking--;
        break;
      case 'bearing':
      case 'killing':
        this.#queues.set(words[0], 'either');
        break;
      case 'born':
      case 'dead':
        // What is told after the cut began may not have come to the device.
        if (before) this.#queues.set(words[0], what === 'born' ? 'there' : 'gone');
        break;
      case 'error':
        throw new Error(words[0]);
      case 'flushing':
      case 'flushed':
      case 'stalled':
        break;
    }
  }

  /** Whether what was acknowledged at that time must be there. */
  #promised(at: number, actor: Actor): boolean {
    if (this.#durability === 'always') return true;
    if (this.#durability === 'interval' && at < actor.flushed) return true;
    return this.#mark.at - at > actor.window;
  }

  /** The queues that must be there, and those that must not. */
  queues(): { there: string[]; gone: string[] } {
    if (this.#durability !== 'always') return { there: [], gone: [] };
    const names = (what: string): string[] =>
      [...this.#queues].filter(([, is]) => is === what).map(([name]) => name);
    return { there: names('there'), gone: names('gone') };
  }

  /** @param found the messages of the queue, in their order. */
  judge(found: readonly Found[]): Verdict {
    const broken: string[] = [];
    const present = new Map(found.map(({ id, version }) => [id, version]));
    if (present.size < found.length) broken.push('a message is there twice');
    const last = new Map<string, number>();
    for (const { id, version } of found) {
      const [producer, n] = id.split('.') as [string, string];
      if ((last.get(producer) ?? -1) > Number(n)) broken.push(`${id} stands behind one that was added later`);
      last.set(producer, Number(n));
      if (!this.#tried.has(id)) broken.push(`${id} was never added`);
      if (version > (this.#asked.get(id) ?? 0)) broken.push(`${id} has a version that nobody has asked for`);
      const known = this.#acknowledged.get(id);
      if (known && version < known.version && this.#promised(known.versionAt, known.actor))
        broken.push(`${id} has lost its version ${known.version}`);
      const end = this.#ended.get(id);
      if (end && this.#promised(end.at, end.actor))
        broken.push(
          `${id} is back, ${Math.round(this.#mark.at - end.at)} ms after its end was acknowledged; ${Math.round(end.actor.window)} ms may be`,
        );
    }
    const due = [...this.#acknowledged].filter(([id]) => !this.#ending.has(id));
    const missing = due.filter(([id]) => !present.has(id)).sort(([, a], [, b]) => a.at - b.at);
    // The first in line are those that were being taken.
    const lost = missing.slice(this.#taking).map(([id, { at, actor }]) => {
      const age = this.#mark.at - at;
      if (this.#promised(at, actor))
        broken.push(`${id} is lost, ${Math.round(age)} ms old; ${Math.round(actor.window)} ms may be`);
      return { id, age };
    });
    return { acknowledged: due.length, lost, broken };
  }
}
