/**
 * What a supervisor leaves behind when it is killed, and how its successor finds and ends it: a file that names the
 * children that live. Before a child is started its mark is written there, a random text that it has in its environment,
 * with all that it starts; afterwards its pid, and what tells that from a later process of the same number. So whenever
 * the supervisor dies, each child can be found by one or the other, and nothing else can.
 *
 * Where the system does not show processes (Windows and macOS, not tested) nothing is found. Forked children end by
 * themselves there as everywhere.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isHere } from '../daemon/place.ts';
import { makeSmall, readSmall, removeSmall } from '../daemon/small-file.ts';
import { QueueError, quote } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { factsOf, isEnded, nodeProcesses, type Identity } from '../process-table.ts';

/** The variable that has the mark. */
export const MARK = 'QUEUE_DAEMON_CHILD';

/** How long what was left behind may take to end when it is told to, where its entry does not say; ms. */
const GRACE = 5000;
/** How long the dead are waited for: what hangs in the kernel takes longer than a moment, if it ever ends; ms. */
const BURIAL = 1000;
const VERSION = 1;
/** Bytes; thousands of children have less. */
const LARGEST = 4 * 1024 * 1024;

interface Entry {
  readonly mark: string;
  /** How long it may take to end when it is told to; ms. Undefined in a file of before this was noted. */
  readonly deadline?: number;
  /** Undefined: about to be started. */
  readonly pid?: number;
  readonly start?: string;
}

interface Left {
  readonly master: Identity;
  readonly children: readonly Entry[];
}

/** The children of this supervisor, in its file. */
export class Register {
  readonly #path: string;
  readonly #onTrouble: (error: QueueError) => void;
  readonly #children = new Map<string, Entry>();
  #inTrouble = false;

  private constructor(path: string, onTrouble: (error: QueueError) => void) {
    this.#path = path;
    this.#onTrouble = onTrouble;
  }

  /**
   * Resolves with an empty register, when what a predecessor has left is ended, each at its deadline at the latest, and with how
   * many processes that were. The file names this supervisor from the start. Makes the folder if need be (0700).
   * @param onTrouble called when the file cannot be written, once for each time that this begins: children are started all
   * the same. Must not throw.
   * @param force fires: what was left behind and has not ended yet is killed.
   * Errors: DAEMON_RUNNING: a supervisor of that name lives in that folder; STORAGE_FAILED: the folder or the file is not usable.
   */
  static async take(
    stateDir: string,
    name: string,
    onTrouble: (error: QueueError) => void,
    force?: AbortSignal,
  ): Promise<{ register: Register; ended: number }> {
    const path = join(stateDir, `${name}.children.json`);
    const left = readLeft(path);
    const running = ({ master: { pid } }: Left): QueueError => {
      const message = `a supervisor named ${name} runs already in ${quote(stateDir, 300)}, as process ${pid}`;
      return new QueueError('DAEMON_RUNNING', message, { path });
    };
    if (left && isHere(left.master)) throw running(left);
    const orphans = left && isOfThisSystem(left.master) ? left.children : [];
    const register = new Register(path, onTrouble);
    // Should this one be killed as well before they have ended, they are found by the next.
    for (const each of orphans) register.#children.set(each.mark, each);
    try {
      makeFolder(stateDir);
      register.#write();
    } catch (cause) {
      throw unwritable(path, cause);
    }
    if (!left || orphans.length === 0) return { register, ended: 0 };
    const ended = await endAll(left, force);
    // Two that begin in the same instant may both have found the dead one: the later is named.
    const now = readLeft(path);
    if (now && !isSame(now.master, nodeProcesses.self())) throw running(now);
    register.#children.clear();
    register.#keep();
    return { register, ended };
  }

  /**
   * To be called before a child is started; returns its mark.
   * @param deadline how long it may take to end when it is told to; ms.
   */
  expect(deadline: number): string {
    const mark = randomBytes(12).toString('hex');
    this.#children.set(mark, { mark, deadline });
    this.#keep();
    return mark;
  }

  /** To be called when it has a pid. */
  began(mark: string, pid: number): void {
    this.#children.set(mark, { ...this.#children.get(mark), mark, pid, start: factsOf(pid)?.start ?? '' });
    this.#keep();
  }

  /** To be called when nothing of it lives. */
  ended(mark: string): void {
    this.#children.delete(mark);
    this.#keep();
  }

  /** To be called when no child is left. */
  close(): void {
    removeSmall(this.#path);
  }

  #keep(): void {
    try {
      this.#write();
      this.#inTrouble = false;
    } catch (cause) {
      if (!this.#inTrouble) this.#onTrouble(unwritable(this.#path, cause));
      this.#inTrouble = true;
    }
  }

  /** Not flushed: what ends with the power need not be found. */
  #write(): void {
    const draft = `${this.#path}.new`;
    const left = { version: VERSION, master: nodeProcesses.self(), children: [...this.#children.values()] };
    removeSmall(draft);
    makeSmall(draft, JSON.stringify(left), { synced: false });
    fs.renameSync(draft, this.#path);
  }
}

/** Ends all that lives of them; resolves with how many processes there were. */
async function endAll(left: Left, force?: AbortSignal): Promise<number> {
  const first = livingOf(left);
  signal([...first.keys()], 'SIGTERM');
  const told = performance.now();
  let allLateAt: number | undefined;
  let pause = 5;
  for (let living = first; living.size > 0; living = livingOf(left)) {
    const now = performance.now();
    const late = [...living].filter(([, deadline]) => force?.aborted === true || now - told >= deadline);
    signal(
      late.map(([pid]) => pid),
      'SIGKILL',
    );
    allLateAt = late.length === living.size ? (allLateAt ?? now) : undefined;
    if (allLateAt !== undefined && now - allLateAt >= BURIAL) break;
    await sleep(pause, undefined, { signal: force }).catch(() => sleep(pause));
    pause = Math.min(100, pause * 2);
  }
  return first.size;
}

/** The processes that are certainly theirs, right now, and how long each may take to end; ms. */
function livingOf({ master, children }: Left): Map<number, number> {
  const living = new Map<number, number>();
  if (!isOfThisSystem(master)) return living;
  const marks = new Map<string, number>();
  const leaders = new Map<number, number>();
  for (const { mark, pid, start, deadline = GRACE } of children) {
    marks.set(mark, deadline);
    if (pid !== undefined && start !== undefined && isHere({ ...master, pid, start }))
      leaders.set(pid, deadline);
  }
  for (const pid of processes()) {
    if (pid === process.pid) continue;
    const facts = factsOf(pid);
    if (!facts || isEnded(facts)) continue;
    // A group has the number of its leader as long as that lives: nobody else can have it.
    const deadline = leaders.get(pid) ?? leaders.get(facts.group) ?? marks.get(markOf(pid));
    if (deadline !== undefined) living.set(pid, deadline);
  }
  return living;
}

/** Of another boot, or another container, nothing is here. */
function isOfThisSystem({ boot, pidNamespace }: Identity): boolean {
  const self = nodeProcesses.self();
  return self.boot !== '' && boot === self.boot && pidNamespace === self.pidNamespace;
}

function isSame(one: Identity, other: Identity): boolean {
  return one.pid === other.pid && one.start === other.start && isOfThisSystem(one);
}

function markOf(pid: number): string {
  try {
    const variables = fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    return variables.find((each) => each.startsWith(`${MARK}=`))?.slice(MARK.length + 1) ?? '';
  } catch {
    return '';
  }
}

function processes(): number[] {
  try {
    return fs
      .readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch {
      // Gone, or under another account.
    }
  }
}

/** Undefined when there is no such file, or a damaged one: what that named cannot be told any more. Errors: STORAGE_FAILED. */
function readLeft(path: string): Left | undefined {
  const text = readSmall(path, LARGEST);
  if (text === undefined) return undefined;
  try {
    const { version, master, children } = JSON.parse(text) as Record<string, unknown>;
    if (version !== VERSION || !isIdentity(master) || !Array.isArray(children)) return undefined;
    return { master, children: children.filter(isEntry) };
  } catch {
    return undefined;
  }
}

function isIdentity(value: unknown): value is Identity {
  const { pid, start, boot, pidNamespace, timeNamespace } = (value ?? {}) as Record<string, unknown>;
  return isPid(pid) && [start, boot, pidNamespace, timeNamespace].every((each) => typeof each === 'string');
}

function isEntry(value: unknown): value is Entry {
  const { mark, pid, start, deadline } = (value ?? {}) as Record<string, unknown>;
  if (typeof mark !== 'string' || !/^[0-9a-f]{24}$/.test(mark)) return false;
  if (deadline !== undefined && !(typeof deadline === 'number' && deadline >= 0)) return false;
  return pid === undefined || (isPid(pid) && typeof start === 'string');
}

/** 0 and less would mean groups, or everybody. */
function isPid(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 1;
}

function unwritable(path: string, cause: unknown): QueueError {
  const { code } = cause as NodeJS.ErrnoException;
  return new QueueError(
    'STORAGE_FAILED',
    `expected a file that names the children, to end them should this process be killed, at ${quote(path, 300)}: ` +
      (code ?? String(cause)),
    { path, cause },
  );
}
