/** Histories of a queue made from a seed, and what can be seen of the state that they lead to. */
import type { Journal } from '../../src/cache/journal.ts';
import type { Operation, Where } from '../../src/cache/operations.ts';
import type { QueueState } from '../../src/cache/state.ts';
import { offsetOf, position } from '../../src/cache/position.ts';
import { toPlace, toWhere } from '../../src/cache/where.ts';
import { mayRunAt } from '../../src/cache/line.ts';
import type { JournalWriter } from './journal-writer.ts';
import type { Seeded } from './seeded.ts';

const WRITERS = ['00000000000000a1', '00000000000000b2', '00000000000000c3'];
const ALIASES = ['', '', 'x', 'y', 'z', 'ä"\\'];
const CANCELLED = JSON.stringify({
  at: '2026-01-01T00:00:00.000Z',
  attempt: 0,
  name: 'Cancelled',
  message: 'no',
});

export class History {
  readonly log: JournalWriter;
  readonly random: Seeded;
  /** Of all that were added, by their positions. */
  readonly #uuids = new Map<number, string>();
  #serial = 0;

  constructor(log: JournalWriter, random: Seeded) {
    this.log = log;
    this.random = random;
  }

  /** Something that a process might write now; also what has been overtaken. */
  step(): void {
    const { log, random } = this;
    const { state } = log;
    log.writer = random.pick(WRITERS);
    // Clocks differ, and run backwards.
    log.time += random.below(30) - 3;
    const live = livePositions(state);
    const claimed = [...state.claimed];
    const dice = random.below(100);
    if (live.length === 0 || dice < 30) this.#add();
    else if (dice < 45) this.#claim(live);
    else if (dice < 75 && claimed.length > 0) this.#settle(random.pick(claimed));
    else if (dice < 90) this.#change(random.pick(live));
    else this.#rare();
  }

  #add(): void {
    const { log, random } = this;
    const n = ++this.#serial;
    const alias = random.pick(ALIASES);
    const op: Operation & { op: 'add' } = { op: 'add', u: uuidOf(n) };
    if (alias !== '') op.a = alias;
    if (random.chance(0.3)) op.r = random.below(5);
    if (random.chance(0.25)) op.d = log.time + random.below(200) - 50;
    if (random.chance(0.1)) op.x = 1;
    if (random.chance(0.2)) op.by = 'someone';
    const { at } = log.write(op, JSON.stringify({ n, pad: '·'.repeat(random.below(60)) }));
    this.#uuids.set(at, op.u);
  }

  #claim(live: readonly number[]): void {
    const { log, random } = this;
    const { state } = log;
    // As candidates are picked, but perhaps some time ago: some are taken by now.
    const candidates = live
      .filter((at) => mayRunAt(state.lifeOf(at)!, log.time) || random.chance(0.1))
      .slice(0, 6);
    const c = toWhere(candidates, (at) => dueOf(state, at));
    if (candidates.length === 0) return;
    const k = (++this.#serial).toString(36);
    log.write({ op: 'claim', k, m: log.time, ms: 1000, max: 1 + random.below(3), c });
  }

  #settle(at: number): void {
    const { log, random } = this;
    const phase = log.state.lifeOf(at)!.phase;
    if (phase.state !== 'claimed') throw new Error('claimed, says the state');
    // Now and then a settle that comes too late.
    const k = random.chance(0.1) ? `${WRITERS[0]}.old` : phase.token;
    const group = [...log.state.claimed].filter((other) => {
      const its = log.state.lifeOf(other)!.phase;
      return its.state === 'claimed' && its.token === k && (other === at || random.chance(0.5));
    });
    const c: Where[] = toWhere(group.length > 0 ? group : [at]);
    const error = JSON.stringify({
      at: new Date(log.time).toISOString(),
      attempt: 1,
      name: 'Error',
      message: `at ${log.time}`,
    });
    const dice = random.below(6);
    if (dice <= 1) log.write({ op: 'done', k, c, u: group.map((other) => this.#uuids.get(other)!), a: [] });
    else if (dice === 2)
      log.write(
        { op: 'fail', k, c, ...(random.chance(0.5) ? { d: log.time + random.below(50) } : {}) },
        error,
      );
    else if (dice === 3) log.write({ op: 'release', k, c });
    else if (dice === 4) {
      const progress = random.chance(0.5)
        ? JSON.stringify({ percent: random.below(101), text: '' })
        : undefined;
      log.write({ op: 'renew', k, m: log.time, ms: 500 + random.below(500), c }, progress);
    } else {
      const r = random.chance(0.8) ? phase.renewal : phase.renewal + 1;
      log.write({ op: 'lapse', k, r, c, ...(random.chance(0.3) ? { f: 1 as const } : {}) }, error);
    }
  }

  #change(at: number): void {
    const { log, random } = this;
    const p = toPlace(at);
    const n = ++this.#serial;
    const schedule: { d?: number | null; x?: 0 | 1 } = {};
    if (random.chance(0.5)) schedule.d = random.chance(0.4) ? null : log.time + random.below(100);
    if (random.chance(0.5)) schedule.x = random.chance(0.5) ? 1 : 0;
    const dice = random.below(5);
    if (dice === 0) log.write({ op: 'set', p, ...schedule });
    else if (dice === 4) log.write({ op: 'cancel', p, u: this.#uuids.get(at)! }, CANCELLED);
    else if (dice === 1) log.write({ op: 'remove', p, u: this.#uuids.get(at)! });
    else {
      const place = log.state.touched.get(at)?.place ?? at;
      const alias = random.pick(ALIASES);
      const op: Operation = {
        op: 'update',
        p,
        at: toPlace(random.chance(0.9) ? place : at),
        i: 1,
        u: this.#uuids.get(at)!,
        ...schedule,
      };
      log.write(alias === '' ? op : { ...op, a: alias }, JSON.stringify({ updated: n }));
    }
  }

  #rare(): void {
    const { log, random } = this;
    const { state } = log;
    const who = { ...log.ports.processes.self(), pid: 1000 + random.below(9) };
    switch (random.below(8)) {
      case 0:
        log.write({ op: state.paused ? 'resume' : 'pause' });
        break;
      case 1:
        log.write(
          { op: 'attr' },
          JSON.stringify({ [random.pick(['k', '__proto__', 'ü'])]: random.chance(0.3) ? null : log.time }),
        );
        break;
      case 2:
        log.write({ op: 'processed', u: `u${log.time}`, a: '' });
        break;
      case 3:
        log.write({ op: 'writer', who, dur: random.pick(['always', 'interval', 'os']) });
        break;
      case 4: {
        const failed = [...state.touched]
          .filter(([, { life }]) => life.phase.state === 'failed')
          .map(([at]) => at);
        log.write(
          failed.length > 0 && random.chance(0.5)
            ? { op: 'retry', c: toWhere(failed.slice(0, 2)) }
            : { op: 'retry' },
        );
        break;
      }
      case 5:
        log.write({ op: 'boot', ctl: 1, id: random.hex(4) });
        break;
      case 6:
        // A write that was cut off.
        log.raw(Buffer.from('\n["0123'));
        break;
      default:
        if (random.chance(0.3)) log.write({ op: 'purge' });
        else log.write(state.paused ? { op: 'resume' } : { op: 'retry' });
    }
  }
}

function dueOf(state: QueueState, at: number): number | undefined {
  const phase = state.lifeOf(at)?.phase;
  return phase?.state === 'deferred' ? phase.due : undefined;
}

function uuidOf(n: number): string {
  return `00000000-0000-7000-8000-${n.toString(16).padStart(12, '0')}`;
}

function byKey<T>(entries: [string, T][]): [string, T][] {
  return entries.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Everything that is in the queue, in order. All tables must have been read. */
export function livePositions(state: QueueState): number[] {
  const live = [...state.touched.keys()];
  for (const table of state.tables.values()) {
    if (!table.read) throw new Error(`the table of segment ${table.segment} is unread`);
    for (let i = 0; i < table.count; i++)
      if (table.isFreshAt(i)) live.push(position(table.segment, table.offsetAt(i)));
  }
  return live.sort((a, b) => a - b);
}

/** All that anybody can learn from a state. */
export function observe(state: QueueState, now: number): unknown {
  const live = livePositions(state);
  const runnable = state.line.pick(1e6, now, new Set());
  if (!Array.isArray(runnable)) throw new Error('a table is unread');
  return {
    id: state.id,
    segment: state.segment,
    options: state.options,
    attributes: byKey(Object.entries(state.attributes)),
    created: state.created,
    modified: state.modified,
    paused: state.paused,
    added: state.added,
    processed: state.processed,
    inserted: state.inserted,
    last: state.last,
    boot: state.boot,
    digest: state.digest,
    counts: state.counts,
    bytes: state.bytes,
    seal: state.seal,
    successor: state.successor,
    writers: byKey([...state.writers]),
    damage: state.damage,
    outcomes: state.outcomes.slice(-20),
    claimed: [...state.claimed].sort((a, b) => a - b),
    crashed: [...state.crashed].sort((a, b) => a - b),
    aliases: ALIASES.map((alias) => state.holderOf(alias)),
    line: runnable,
    due: state.line.countDue(now),
    nextDue: state.line.nextDue(),
    /** What a head would tell of them. */
    runs: [...state.tables.values()].filter(({ fresh }) => fresh > 0).map((table) => table.runs()),
    messages: live.map((at) => {
      const touched = state.touched.get(at);
      return [
        at,
        offsetOf(at),
        state.lifeOf(at),
        touched?.place ?? at,
        touched?.lease ?? null,
        state.aliasOf(at) ?? null,
      ];
    }),
  };
}

/** What a handle holds, once it has read all its tables. */
export async function observeJournal(journal: Journal, now: number): Promise<unknown> {
  await journal.refresh();
  for (const table of journal.state.tables.values()) await journal.read(table);
  return observe(journal.state, now);
}
