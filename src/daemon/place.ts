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
import { factsOf, isEnded, isNobody, nodeProcesses, type Identity } from '../process-table.ts';
import { LifeSign, knock, removeSignOf, type Order } from './life-sign.ts';
import { checkDaemonName } from './name.ts';
import { makeSmall, readSmall, removeSmall } from './small-file.ts';
import { readState } from './state.ts';

/** The files of one daemon. */
export interface Paths {
  /** The pid in its first line, what tells it from others in the second. There while a process has the place, or when it died there. */
  pid: string;
  /** See `state.ts`. */
  state: string;
  /** The log of a daemon that was started in the background, unless the configuration names another file. */
  log: string;
  /** What its process prints beside its log, its last words among it. */
  output: string;
  /** There while the daemon is stopped because somebody wanted it: nobody is to revive it. */
  stopped: string;
}

/** Errors: INVALID_ARGUMENT: no daemon can have that name. */
export function pathsOf(stateDir: string, name: string): Paths {
  checkDaemonName(name);
  const path = (suffix: string): string => join(stateDir, name + suffix);
  return {
    pid: path('.pid'),
    state: path('.state.json'),
    log: path('.log'),
    output: path('.out'),
    stopped: path('.stopped'),
  };
}

/** Who has a place, as the pid file says. */
export interface Holder {
  who: Identity;
  /** No two holders ever have the same. */
  token: string;
}

/** `unknown`: it may live in another container, which left no sign of life; or this system tells too little. */
export type Life = 'alive' | 'dead' | 'unknown';

/**
 * The variable that tells the processes which a daemon has started: it holds the token of the holder. What they start in their
 * turn has it too.
 */
export const HOLDER = 'CODA_HOLDER';

/** A draft that cannot be read may be being written, but not for so long; ms. */
const DRAFTING = 60_000;
/** Tries against others who take and leave the same place meanwhile. */
const MOST_TRIES = 1000;

/**
 * The holder that the pid file names, alive or not; undefined when nobody has the place.
 * Errors: STORAGE_FAILED when what stands there is no pid file of ours.
 */
export function readHolder(path: string): Holder | undefined {
  const text = readSmall(path);
  if (text === undefined) return undefined;
  const holder = parseHolder(text);
  if (holder) return holder;
  throw new QueueError(
    'STORAGE_FAILED',
    `expected the pid file of a daemon at ${quote(path, 300)}, found ${quote(text)}; ` +
      'remove it if that daemon does not run',
    { path },
  );
}

/**
 * Who has the place of a daemon, alive or not, be it that its pid file is about to be put up; undefined when nobody has.
 * Errors: STORAGE_FAILED, as of `readHolder`; INVALID_ARGUMENT.
 */
export function holderOf(stateDir: string, name: string): Holder | undefined {
  const named = readHolder(pathsOf(stateDir, name).pid);
  return named && lastHeirOf(stateDir, name, named);
}

/**
 * Who has a place although somebody has removed his pid file: as the state file says, and only if it is certain that he
 * lives.
 */
export async function survivorOf(stateDir: string, name: string): Promise<Holder | undefined> {
  let state: ReturnType<typeof readState>;
  try {
    state = readState(pathsOf(stateDir, name).state);
  } catch {
    return undefined;
  }
  if (!state || state.end) return undefined;
  const holder = { who: { pid: state.pid, ...state.process }, token: state.token };
  return (await lifeOf(holder, stateDir)) === 'alive' ? holder : undefined;
}

/** Whether a holder lives. Costs a look at the process table, and a knock where that does not tell. */
export async function lifeOf({ who, token }: Holder, stateDir: string): Promise<Life> {
  const self = nodeProcesses.self();
  // The state folder belongs to one machine: another boot is an earlier one.
  if (who.boot !== '' && self.boot !== '' && who.boot !== self.boot) return 'dead';
  if (nodeProcesses.isKnownDead(who)) return 'dead';
  if (isHere(who)) return 'alive';
  // Where the system has no namespaces to hide a process in.
  if (self.pidNamespace === '' && isNobody(who.pid)) return 'dead';
  return knock(stateDir, token);
}

/**
 * Whether a process of this number is the holder, right now: to be asked just before it is sent a signal. False where the
 * system does not tell.
 */
export function isHere(who: Identity): boolean {
  const self = nodeProcesses.self();
  if (who.start === '' || who.boot !== self.boot || who.pidNamespace !== self.pidNamespace) return false;
  const facts = factsOf(who.pid);
  return facts !== undefined && facts.start === who.start && !isEnded(facts);
}

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
    fs.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
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

/** Who stands at the end of the chain: `holder` itself when nobody has succeeded it. */
function lastHeirOf(stateDir: string, name: string, holder: Holder): Holder {
  const next = readHolder(hidden(stateDir, name, 'after', holder.token));
  return next ? lastHeirOf(stateDir, name, next) : holder;
}

function hidden(stateDir: string, name: string, kind: 'pid' | 'after', token: string): string {
  return join(stateDir, `.${name}.${kind}-${token}`);
}

const HIDDEN = /^\.(.+)\.(pid|after)-([0-9a-f]{16})(?:-2)?$/;

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

function tryHolder(path: string): Holder | undefined {
  try {
    return readHolder(path);
  } catch {
    return undefined;
  }
}

function textOf({ who, token }: Holder): string {
  const { pid, ...rest } = who;
  return `${pid}\n${JSON.stringify({ token, ...rest })}\n`;
}

function parseHolder(text: string): Holder | undefined {
  const [first = '', second = ''] = text.split('\n');
  if (!/^[1-9]\d{0,9}$/.test(first)) return undefined;
  try {
    const { token, start, boot, pidNamespace, timeNamespace } = JSON.parse(second) as Record<string, unknown>;
    const texts = [start, boot, pidNamespace, timeNamespace];
    if (typeof token !== 'string' || !/^[0-9a-f]{16}$/.test(token)) return undefined;
    if (!texts.every((each) => typeof each === 'string')) return undefined;
    const who = { pid: Number(first), start, boot, pidNamespace, timeNamespace } as Identity;
    return { who, token };
  } catch {
    return undefined;
  }
}
