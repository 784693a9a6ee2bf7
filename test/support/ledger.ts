/**
 * What clients of a queue have asked for and been told, and whether what is found after a power cut agrees with it. It
 * knows nothing of how the queue is stored. Messages are told apart by a number in their data.
 */
import type { Message } from '../../src/message.ts';

export interface Entry {
  readonly id: number;
  readonly client: number;
  /** Counted over all calls and answers: what was answered before another was called stands before it in line. */
  readonly calledAt: number;
  ackedAt: number | undefined;
  /** Versions of the data: the last one answered, the last one asked for. */
  version: number;
  asked: number;
  /** Somebody may have ended it; somebody was told, durably, that it has ended. */
  ending: boolean;
  ended: boolean;
}

export interface Data {
  id: number;
  version: number;
  pad: string;
}

export class Ledger {
  readonly entries = new Map<number, Entry>();
  /** Calls of `take` without an answer: each may have taken any message. */
  taking = 0;
  #now = 0;

  data(id: number, version: number): Data {
    // Sizes that differ, and bytes that a shifted read would show.
    return { id, version, pad: String(id).repeat(1 + ((id * 7 + version * 3) % 40)) };
  }

  adding(client: number): Entry {
    const id = this.entries.size + 1;
    const entry: Entry = {
      id,
      client,
      calledAt: ++this.#now,
      ackedAt: undefined,
      version: 0,
      asked: 0,
      ending: false,
      ended: false,
    };
    this.entries.set(id, entry);
    return entry;
  }

  added(entry: Entry): void {
    entry.ackedAt = ++this.#now;
  }

  /** The entry of a message that was handed over, its data checked. */
  checked({ data }: Message): Entry {
    const { id, version } = data as unknown as Data;
    const entry = this.entries.get(id);
    if (!entry) throw new Error(`a message that nobody has added: ${JSON.stringify(data)}`);
    if (JSON.stringify(data) !== JSON.stringify(this.data(id, version)))
      throw new Error(`data that nobody has written: ${JSON.stringify(data)}`);
    if (version > entry.asked) throw new Error(`message ${id} has a version that nobody has asked for`);
    return entry;
  }

  /**
   * What is wrong with the messages found after a restart, in words; and from here on they are what is known.
   * @param may what the durability allows to be lost.
   */
  settle(found: readonly Message[], may: 'nothing' | 'a suffix' | 'anything'): string[] {
    const wrong: string[] = [];
    const present = new Set<number>();
    const last = new Map<number, number>();
    let newest = 0;
    for (const message of found) {
      const entry = this.checked(message);
      const { id, client } = entry;
      if (present.has(id)) wrong.push(`message ${id} is there twice`);
      present.add(id);
      if ((last.get(client) ?? 0) > id) wrong.push(`message ${id} stands behind one that was added later`);
      last.set(client, id);
      newest = Math.max(newest, entry.calledAt);
      if (may !== 'nothing') continue;
      if (entry.ended) wrong.push(`message ${id} is back after its end was acknowledged`);
      const { version } = message.data as unknown as Data;
      if (version < entry.version)
        wrong.push(`message ${id} has lost its acknowledged version ${entry.version}`);
    }
    const missing = [...this.entries.values()].filter(
      ({ id, ackedAt, ending }) => ackedAt !== undefined && !ending && !present.has(id),
    );
    if (may === 'nothing' && missing.length > this.taking)
      wrong.push(`acknowledged and lost: ${missing.map(({ id }) => id).join(', ')}`);
    // A take without an answer may have reached the disk while adds that came after it have not.
    const holes = missing.filter(({ ackedAt }) => ackedAt! < newest);
    if (may === 'a suffix' && holes.length > this.taking)
      wrong.push(`lost although later ones were kept: ${holes.map(({ id }) => id).join(', ')}`);
    this.#start(found, present);
    return wrong;
  }

  #start(found: readonly Message[], present: ReadonlySet<number>): void {
    this.taking = 0;
    for (const entry of this.entries.values()) {
      if (!present.has(entry.id)) Object.assign(entry, { ending: true, ended: true });
    }
    for (const { data } of found) {
      const { id, version } = data as unknown as Data;
      const entry = this.entries.get(id)!;
      // A version that was asked for and is not there cannot come any more, except from a call that is still under way.
      Object.assign(entry, {
        ackedAt: entry.ackedAt ?? ++this.#now,
        version,
        asked: version,
        ending: false,
        ended: false,
      });
    }
  }
}
