/**
 * `queue repair`: makes a queue whole again from what is sound in its files.
 *
 * It is a rotation like any other, but for the head, which is made of all that could be saved, hands no damage on, and
 * names no predecessor: the newest segment is sealed, the log names the repaired head as its successor, and with the
 * renaming of that file the queue is repaired. So a crash leaves the old queue or the new one, processes that have the
 * queue open follow into it, and no number is used twice. Before that everything is copied aside; after it what nobody
 * needs is deleted, and what is still needed is mended.
 */
import { basename, dirname } from 'node:path';
import { QueueError } from '../errors.ts';
import { listSegments, parseSegmentName, segmentName, standsAt, storageError } from './files.ts';
import { checkFolder } from './folder.ts';
import { nodePorts } from './node-ports.ts';
import type { Ports } from './ports.ts';
import { commit, finishRotation } from './repair/commit.ts';
import { needsMending } from './repair/mend.ts';
import { discard, keptOf, setAside, sizeOf } from './repair/quarantine.ts';
import { inText, type RepairReport } from './repair/report.ts';
import { placesOf, salvage, type Salvage } from './repair/salvage.ts';
import { spentIn, tidy } from './repair/tidy.ts';
import { verifyQueue, type VerifyReport } from './verify.ts';

export interface RepairOptions {
  /** How many outcomes the queue remembers. */
  keepOutcomes: number;
  ports?: Ports;
}

/** How often it is begun anew because other processes have written meanwhile. */
const TRIES = 5;
/** How often a plan is made anew because segments have come or gone meanwhile. */
const LOOKS = 20;
/** Free space that is left alone: consumers need it. */
const FLOOR_BYTES = 4 * 1024 * 1024;

/** What a repair would do; changes nothing. Errors: as `repairQueue`. */
export function planRepair(folder: string, options: RepairOptions): Promise<RepairReport> {
  return new Repair(folder, options).plan();
}

/**
 * Repairs the queue in `folder`, unless it is sound, or processes that have registered with it live. Everything is on the
 * device when it resolves. Takes a copy of the folder, which stays: see `quarantine.ts`. One at a time: see `lock.ts`.
 * Errors: QUEUE_NOT_FOUND, JOURNAL_NEWER, STORAGE_FULL, STORAGE_FAILED, STORAGE_UNSUPPORTED.
 */
export function repairQueue(folder: string, options: RepairOptions): Promise<RepairReport> {
  return new Repair(folder, options).run();
}

interface Findings {
  verified: VerifyReport;
  salvaged: Salvage;
  /** Segments whose records do not lead to what their successors say. */
  disputed: ReadonlySet<number>;
  needed: boolean;
}

class Repair {
  readonly #folder: string;
  readonly #queue: string;
  readonly #ports: Ports;
  readonly #keepOutcomes: number;

  constructor(folder: string, { keepOutcomes, ports = nodePorts }: RepairOptions) {
    this.#folder = folder;
    this.#queue = basename(folder);
    this.#ports = ports;
    this.#keepOutcomes = keepOutcomes;
  }

  plan(): Promise<RepairReport> {
    return this.#typed('planning a repair', async () => {
      const findings = await this.#examineAtRest();
      return { ...this.#reportOf(findings), outcome: findings.needed ? 'planned' : 'sound' };
    });
  }

  /** Once more when segments have come or gone meanwhile: what was not found then is not lost. */
  async #examineAtRest(): Promise<Findings> {
    const { fs } = this.#ports;
    const segments = (): string => {
      try {
        return listSegments(fs, this.#folder).join();
      } catch {
        // Why not is told by who examines it.
        return '';
      }
    };
    for (let attempt = 1; ; attempt++) {
      const before = segments();
      const isOver = (): boolean => attempt === LOOKS || segments() === before;
      try {
        const findings = await this.#examine();
        if (isOver()) return findings;
      } catch (error) {
        if (isOver()) throw error;
      }
    }
  }

  run(): Promise<RepairReport> {
    return this.#typed('repairing the queue', async () => {
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const findings = await this.#examine();
        const { salvaged, needed } = findings;
        const report = this.#reportOf(findings);
        if (!needed) return { ...report, outcome: 'sound' };
        if (report.pids.length > 0) return { ...report, outcome: 'in use' };
        // What the log has begun is not for this to undo.
        if (await finishRotation(this.#ports, this.#folder, salvaged)) continue;
        this.#checkRoom(salvaged);
        const done: RepairReport = { ...report, outcome: 'repaired' };
        const texts = {
          'report.json': `${JSON.stringify(done, undefined, 2)}\n`,
          'report.txt': inText(done),
        };
        let quarantine = '';
        const keep = async (own: string): Promise<void> => {
          quarantine = await setAside(this.#ports, this.#folder, own, texts);
        };
        if (await commit(this.#ports, this.#folder, salvaged, keep)) {
          await this.#tidy(findings, quarantine);
          const { sound } = await verifyQueue(this.#folder, this.#ports);
          return { ...done, quarantine, sound };
        }
        await discard(this.#ports, [{ path: quarantine, bytes: 0 }]);
      }
      throw new QueueError('STORAGE_FAILED', 'other processes keep writing to the queue: stop them first', {
        queue: this.#queue,
        path: this.#folder,
      });
    });
  }

  async #tidy({ salvaged, disputed }: Findings, quarantine: string): Promise<void> {
    try {
      await tidy(this.#ports, this.#folder, salvaged, disputed, quarantine);
    } catch (error) {
      const { message, code } = storageError(error, 'tidying up', this.#queue, this.#folder);
      const text = `the queue is repaired, but ${message}; repair it again to finish`;
      throw new QueueError(code, text, { queue: this.#queue, path: this.#folder, cause: error });
    }
  }

  async #typed<T>(doing: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw storageError(error, doing, this.#queue, this.#folder);
    }
  }

  async #examine(): Promise<Findings> {
    const { fs } = this.#ports;
    const folder = this.#folder;
    const queue = this.#queue;
    if (fs.kind(dirname(folder)) === 'file' || !checkFolder(fs, folder, queue))
      throw new QueueError('QUEUE_NOT_FOUND', 'there is no folder of this queue', { queue, path: folder });
    // An operation that nobody knows can be passed over; a newer format is refused by either.
    const verified = await verifyQueue(folder, this.#ports, { strangers: true });
    const salvaged = await salvage({ ports: this.#ports, folder, keepOutcomes: this.#keepOutcomes });
    const { lost, outdated, moved } = salvaged;
    const saves = lost.length > 0 || outdated.length > 0 || moved.size > 0;
    const heads = verified.damage.filter(({ kind }) => kind === 'head');
    const disputed = new Set([...moved, ...heads.map(({ file }) => parseSegmentName(file)! - 1)]);
    // Whoever took an add that stands there twice for two messages may have done things to the second, which is gone now.
    const first = [...salvaged.surveys].find(([, { repeated }]) => repeated.some(({ isAdd }) => isAdd))?.[0];
    for (const segment of salvaged.surveys.keys())
      if (first !== undefined && segment >= first) disputed.add(segment);
    return { verified, salvaged, disputed, needed: !verified.sound || saves };
  }

  #reportOf({ verified, salvaged, disputed }: Findings): RepairReport {
    const { state, newest, surveys, lost, unnamed, doubtful, outdated, optionsKnown } = salvaged;
    const named = placesOf(salvaged);
    const fate = (segment: number): 'kept' | 'mended' | 'removed' => {
      const survey = surveys.get(segment)!;
      if (!named.has(segment)) return 'removed';
      // The newest one is sealed in passing.
      const sealed = survey.sealed || segment === newest;
      return disputed.has(segment) || needsMending({ ...survey, sealed }) ? 'mended' : 'kept';
    };
    return {
      queue: this.#queue,
      outcome: 'planned',
      pids: this.#living(salvaged),
      messages: Object.values(state.counts).reduce((sum, count) => sum + count, 0),
      counts: { ...state.counts },
      lost,
      unnamed,
      gone: goneIn(verified, salvaged),
      doubtful,
      outdated,
      exists: state.id !== '' && state.seal?.why !== 'destroy',
      optionsKnown,
      damage: verified.damage,
      segments: [
        ...[...surveys.keys()].map((segment) => ({ file: segmentName(segment), fate: fate(segment) })),
        ...this.#asides(salvaged),
        { file: segmentName(newest + 1), fate: 'new' },
      ],
      earlier: keptOf(this.#ports, this.#folder).map(({ path }) => path),
    };
  }

  #asides(salvaged: Salvage): RepairReport['segments'] {
    const { fs } = this.#ports;
    const strange = spentIn(fs, this.#folder, salvaged).filter(
      (name) => fs.kind(`${this.#folder}/${name}`) !== 'file',
    );
    return strange.map((file) => ({ file, fate: 'aside', is: standsAt(fs, `${this.#folder}/${file}`) }));
  }

  /** Of the registered writers, those of which it is known that they live: of this boot, and in sight of this process. */
  #living({ state }: Salvage): number[] {
    const { processes } = this.#ports;
    const self = processes.self();
    const pids = [...state.writers.values()].flatMap(({ who }) => {
      const inSight = who.boot !== '' && who.boot === self.boot && who.pidNamespace === self.pidNamespace;
      return inSight && !processes.isKnownDead(who) ? who.pid : [];
    });
    return [...new Set(pids)].sort((a, b) => a - b);
  }

  /** Room for the copy, for what is mended, and for the head. */
  #checkRoom(salvaged: Salvage): void {
    const { fs } = this.#ports;
    const mended = [...placesOf(salvaged)].reduce(
      (sum, segment) => sum + (salvaged.surveys.get(segment)?.bytes ?? 0),
      0,
    );
    const needed = sizeOf(fs, this.#folder) + mended + salvaged.state.touched.size * 500 + FLOOR_BYTES;
    const { free } = fs.space(this.#folder);
    if (free >= needed) return;
    const text = `a repair needs ${needed} bytes of free space, most of them for the copy of the old files; there are ${free}`;
    throw new QueueError('STORAGE_FULL', text, { queue: this.#queue, path: this.#folder });
  }
}

/** Files of which nothing tells what was in them, or behind their cut. */
function goneIn({ damage }: VerifyReport, { surveys, untold, told }: Salvage): string[] {
  const missing = damage.flatMap(({ kind, file }) => (kind === 'missing' ? parseSegmentName(file)! : []));
  const gone = missing.filter((segment) => !surveys.has(segment) && segment >= told);
  return [...new Set([...gone, ...untold])].sort((a, b) => a - b).map(segmentName);
}
