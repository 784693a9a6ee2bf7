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
import { factsOf, isEnded, nodeProcesses, type Identity } from '../process-table.ts';

/** The variable that has the mark. */
export const MARK = 'QUEUE_DAEMON_CHILD';

/** How long what was left behind may take to end when it is told to; ms. */
const GRACE = 5000;
/** How long the dead are waited for; ms. */
const BURIAL = 1000;
const VERSION = 1;
/** Bytes; thousands of children have less. */
const LARGEST = 4 * 1024 * 1024;

interface Entry {
  readonly mark: string;
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
   * Resolves with an empty register, when what a predecessor has left is ended, and with how many processes that were.
   * Makes the folder if need be (0700).
   * @param onTrouble called when the file cannot be written, once for each time that this begins: children are started all
   * the same. Must not throw.
   * Errors: DAEMON_RUNNING: a supervisor of that name lives in that folder; STORAGE_FAILED: the folder or the file is not usable.
   */
  static async take(
    stateDir: string,
    name: string,
    onTrouble: (error: QueueError) => void,
  ): Promise<{ register: Register; ended: number }> {
    const path = join(stateDir, `${name}.children.json`);
    const left = readLeft(path);
    if (left && isHere(left.master)) {
      const message = `a supervisor named ${name} runs already in ${quote(stateDir, 300)}, as process ${left.master.pid}`;
      throw new QueueError('DAEMON_RUNNING', message, { path });
    }
    const ended = left ? await endAll(left) : 0;
    const register = new Register(path, onTrouble);
    try {
      fs.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
      register.#write();
    } catch (cause) {
      throw unwritable(path, cause);
    }
    return { register, ended };
  }

  /** To be called before a child is started; returns its mark. */
  expect(): string {
    const mark = randomBytes(12).toString('hex');
    this.#children.set(mark, { mark });
    this.#keep();
    return mark;
  }

  /** To be called when it has a pid. */
  began(mark: string, pid: number): void {
    this.#children.set(mark, { mark, pid, start: factsOf(pid)?.start ?? '' });
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
async function endAll(left: Left): Promise<number> {
  const found = livingOf(left);
  if (found.length === 0) return 0;
  signal(found, 'SIGTERM');
  if (!(await isOver(left, GRACE))) {
    signal(livingOf(left), 'SIGKILL');
    await isOver(left, BURIAL);
  }
  return found.length;
}

async function isOver(left: Left, patience: number): Promise<boolean> {
  const until = performance.now() + patience;
  for (let pause = 5; livingOf(left).length > 0; pause = Math.min(100, pause * 2)) {
    if (performance.now() >= until) return false;
    await sleep(pause);
  }
  return true;
}

/** The processes that are certainly theirs, right now. */
function livingOf({ master, children }: Left): number[] {
  const self = nodeProcesses.self();
  // Of another boot, or another container, nothing is here.
  if (self.boot === '' || master.boot !== self.boot || master.pidNamespace !== self.pidNamespace) return [];
  const marks = new Set(children.map(({ mark }) => mark));
  const leaders = new Set<number>();
  for (const { pid, start } of children)
    if (pid !== undefined && start !== undefined && isHere({ ...master, pid, start })) leaders.add(pid);
  return processes().filter((pid) => {
    if (pid === process.pid) return false;
    const facts = factsOf(pid);
    if (!facts || isEnded(facts)) return false;
    // A group has the number of its leader as long as that lives: nobody else can have it.
    return leaders.has(pid) || leaders.has(facts.group) || marks.has(markOf(pid));
  });
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
  const { mark, pid, start } = (value ?? {}) as Record<string, unknown>;
  if (typeof mark !== 'string' || !/^[0-9a-f]{24}$/.test(mark)) return false;
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
