/**
 * A daemon's place below the state folder: at any time one process at most has the place of a name. Its pid file says
 * who; it appears with all its contents, by a link, and whoever dies leaves it behind.
 *
 * Who finds the dead in a place succeeds *that* holder: it links its own file to a name that the holder's token makes,
 * which only one process ever can, then renames another over the pid file. Who dies between the two has been
 * succeeded itself in the same way: so the heirs of a dead holder form a chain, at whose end stands who has the place.
 * Such a link is removed only when the pid file names somebody else, or by who has made it too late: after the link each
 * looks whether the chain that begins with the pid file ends with itself, and has won nothing if not. No lock is
 * needed, so none can be left behind, or taken from a process that was only slow.
 *
 * Somebody may remove the pid file, or the whole folder, under a daemon that lives. While its state file is there nobody
 * takes the place; and every few seconds the daemon puts its files up again, or finds that the place is lost, and ends.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { nodeProcesses } from '../process-table.ts';
import {
  HIDDEN,
  hidden,
  holderOf,
  isSpoilt,
  lastHeirOf,
  pathsOf,
  readHolder,
  textOf,
  tryHolder,
  type Holder,
  type Paths,
} from './holder.ts';
import { LifeSign, removeSignOf, type Order } from './life-sign.ts';
import { lifeOf, survivorOf, type Life } from './life.ts';
import { makeSmall, removeSmall } from './small-file.ts';

export { holderOf, pathsOf, readHolder, type Holder, type Paths } from './holder.ts';
export { isHere, lifeOf, survivorOf, type Life } from './life.ts';

/**
 * The variable that tells the processes which a daemon has started: it holds the token of the holder. What they start in their
 * turn has it too.
 */
export const HOLDER = 'CODA_HOLDER';

/** A draft that cannot be read may be being written, but not for so long; ms. */
const DRAFTING = 60_000;
/** Tries against others who take and leave the same place meanwhile. */
const MOST_TRIES = 1000;

/** The place of this process. */
export interface Place {
  readonly name: string;
  /** Absolute. */
  readonly stateDir: string;
  readonly paths: Paths;
  readonly holder: Holder;
  /** Who had the place before and died in it. */
  readonly predecessor: Holder | undefined;
  /** Calls `listener` with orders that come otherwise than by a signal. */
  onOrder(listener: (order: Order) => void): void;
  /**
   * Puts up again what somebody has removed of the pid file and what goes with it. Resolves when this process has the place.
   * Errors: DAEMON_RUNNING: somebody else has it, so this process must not go on; STORAGE_FAILED, STORAGE_FULL: that
   * cannot be put up now.
   */
  keep(): Promise<void>;
  /** Resolves when the place is free again. */
  release(): Promise<void>;
}

/**
 * Takes the place of daemon `name` for this process; makes the folder if need be (0700). Nobody else has it when this
 * resolves, nor will, until it is released or this process has ended.
 * Errors: DAEMON_RUNNING: somebody has it, or may have it; INVALID_ARGUMENT: no such name is possible; STORAGE_FAILED,
 * STORAGE_FULL: the folder, or what is in it, is not usable.
 */
export async function takePlace(stateDir: string, name: string): Promise<Place> {
  const paths = pathsOf(stateDir, name);
  const holder = { who: nodeProcesses.self(), token: randomBytes(8).toString('hex') };
  return inFolder(stateDir, () => new Taking(stateDir, name, paths, holder).take());
}

/** Makes the folder if need be; what the system says against `use` becomes an error of ours. */
async function inFolder<Result>(stateDir: string, use: () => Promise<Result>): Promise<Result> {
  try {
    makeFolder(stateDir);
    return await use();
  } catch (cause) {
    if (cause instanceof QueueError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    throw new QueueError(
      full ? 'STORAGE_FULL' : 'STORAGE_FAILED',
      `expected a folder for the state of daemons, in which files can be made and linked, at ${quote(stateDir, 300)}: ${code ?? String(cause)}`,
      { path: stateDir, cause },
    );
  }
}

class Taking {
  readonly #stateDir: string;
  readonly #name: string;
  readonly #paths: Paths;
  readonly #holder: Holder;
  /** Named by two names at the end, or by none. */
  readonly #draft: string;
  #sign: LifeSign | undefined;
  #keeping: Promise<void> | undefined;
  #released = false;
  #listener: (order: Order) => void = () => undefined;

  constructor(stateDir: string, name: string, paths: Paths, holder: Holder) {
    this.#stateDir = stateDir;
    this.#name = name;
    this.#paths = paths;
    this.#holder = holder;
    this.#draft = this.#hidden('pid', holder.token);
  }

  async take(): Promise<Place> {
    // Flushed: after a power cut an empty pid file would be nobody's, and yet in the way.
    makeSmall(this.#draft, textOf(this.#holder), { synced: true });
    try {
      await this.#giveSign();
      const predecessor = await this.#enter();
      await this.#tidy();
      removeSmall(this.#paths.stopped);
      return this.#place(predecessor);
    } catch (error) {
      await this.#sign?.end();
      throw error;
    } finally {
      removeSmall(this.#draft);
    }
  }

  async #giveSign(): Promise<void> {
    this.#sign = await LifeSign.give(this.#stateDir, this.#holder.token, (order) => this.#listener(order));
  }

  async #keep(): Promise<void> {
    if (this.#sign?.isThere === false) {
      await this.#sign.end();
      await this.#giveSign();
    }
    if (isSpoilt(this.#paths.pid)) {
      // Nobody of ours writes such a file, so whoever did has not taken the place.
      fs.renameSync(this.#copy(), this.#paths.pid);
      return;
    }
    if (readHolder(this.#paths.pid)?.token === this.#holder.token) return;
    removeSmall(this.#draft);
    makeSmall(this.#draft, textOf(this.#holder), { synced: true });
    try {
      await this.#enter();
    } finally {
      removeSmall(this.#draft);
    }
  }

  /** Resolves with the predecessor, once the pid file is this process's. */
  async #enter(): Promise<Holder | undefined> {
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const named = readHolder(this.#paths.pid);
      if (named === undefined) {
        const survivor = await survivorOf(this.#stateDir, this.#name);
        if (survivor && survivor.token !== this.#holder.token)
          throw taken(this.#name, survivor, 'alive', this.#paths.pid);
        if (linked(this.#draft, this.#paths.pid)) return undefined;
        continue;
      }
      const last = lastHeirOf(this.#stateDir, this.#name, named);
      const life = await lifeOf(last, this.#stateDir);
      if (life !== 'dead') throw taken(this.#name, last, life, this.#paths.pid);
      const claim = this.#hidden('after', last.token);
      if (!linked(this.#draft, claim)) continue;
      // By now the chain may have been removed, or may never have led here: it may have gone by a claim that was withdrawn.
      if (holderOf(this.#stateDir, this.#name)?.token !== this.#holder.token) {
        removeSmall(claim);
        continue;
      }
      // Not the draft itself: renaming one of two names of a file to the other does nothing.
      fs.renameSync(this.#copy(), this.#paths.pid);
      return last;
    }
    throw new QueueError('STORAGE_FAILED', `the place of daemon ${this.#name} changes hands all the time`, {
      path: this.#paths.pid,
    });
  }

  #copy(): string {
    const path = this.#hidden('pid', `${this.#holder.token}-2`);
    makeSmall(path, textOf(this.#holder), { synced: true });
    return path;
  }

  /** Removes what the dead have left, as far as that can be removed. Only who has the place does this. */
  async #tidy(): Promise<void> {
    for (const name of fs.readdirSync(this.#stateDir)) {
      const [, daemon, kind, token = ''] = HIDDEN.exec(name) ?? [];
      if (daemon !== this.#name || token === this.#holder.token) continue;
      const path = join(this.#stateDir, name);
      try {
        if (kind === 'pid' && (await this.#isInUse(path))) continue;
        removeSmall(path);
        removeSignOf(this.#stateDir, token);
      } catch {
        // What somebody has put there may stay: it is in nobody's way.
      }
    }
  }

  /** Whether a draft is another process's that just tries to take the place, in vain. */
  async #isInUse(draft: string): Promise<boolean> {
    const drafter = tryHolder(draft);
    if (drafter) return (await lifeOf(drafter, this.#stateDir)) !== 'dead';
    return Date.now() - fs.statSync(draft).mtimeMs < DRAFTING;
  }

  #place(predecessor: Holder | undefined): Place {
    const paths = this.#paths;
    const holder = this.#holder;
    return {
      name: this.#name,
      stateDir: this.#stateDir,
      paths,
      holder,
      predecessor,
      onOrder: (listener) => {
        this.#listener = listener;
      },
      keep: async () => {
        if (this.#released) return;
        this.#keeping ??= inFolder(this.#stateDir, () => this.#keep());
        try {
          await this.#keeping;
        } finally {
          this.#keeping = undefined;
        }
      },
      release: async () => {
        this.#released = true;
        // It may just be putting up the pid file.
        await this.#keeping?.catch(() => undefined);
        if (tryHolder(paths.pid)?.token === holder.token) removeSmall(paths.pid);
        await this.#sign?.end();
      },
    };
  }

  #hidden(kind: 'pid' | 'after', token: string): string {
    return hidden(this.#stateDir, this.#name, kind, token);
  }
}

function taken(name: string, { who }: Holder, life: Life, path: string): QueueError {
  const text =
    life === 'alive'
      ? `daemon ${name} runs already, as process ${who.pid}`
      : `daemon ${name} may run already, as process ${who.pid} of another container, of which it cannot be told here ` +
        `whether it lives; if it does not, remove ${quote(path, 300)}`;
  return new QueueError('DAEMON_RUNNING', text, { path });
}

/** False when there is something under that name. */
function linked(from: string, to: string): boolean {
  try {
    fs.linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
