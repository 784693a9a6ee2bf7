/**
 * A command and all the processes it starts, as one process group: what is left of it ends with the command, when the
 * try is aborted, and (see `keeper.ts`) when this process dies. A process that leaves its group on purpose (setsid)
 * gets away.
 *
 * Windows (not tested) has no such groups: there the command itself is ended, and what it started is not.
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/** How the command itself ended: one of the two is set. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Two, as a pipe that can be written to no more cannot be read any more either, whatever is still in it. */
export interface Pipes {
  /** From the command: its descriptor 3. */
  incoming: Readable;
  /** To the command: its descriptor 4. */
  outgoing: Writable;
}

/** How long output is waited for behind the command's end, in ms: most of it is there, unless something left the group. */
const LAST_WORDS = 500;
/** How long the dead are waited for; only what hangs in the kernel takes longer than a moment. In ms. */
const BURIAL = 1000;

export class Group {
  readonly #child: ChildProcessWithoutNullStreams;
  /** Resolves when the command itself has ended; rejects, with the system's error, when it could not be started. */
  readonly exit: Promise<Exit>;
  /** Resolves when its output has been read to the end. */
  readonly #read: Promise<unknown>;
  #exited = false;

  /** @param withPipes whether the command has pipes besides those that every program has. */
  constructor(words: readonly string[], env: NodeJS.ProcessEnv, withPipes = false) {
    const [program = '', ...args] = words;
    this.#child = spawn(program, args, {
      env,
      stdio: ['pipe', 'pipe', 'pipe', ...(withPipes ? (['pipe', 'pipe'] as const) : [])],
      detached: process.platform !== 'win32',
      windowsHide: true,
    });
    this.exit = new Promise((resolve, reject) => {
      this.#child.once('exit', (code, signal) => {
        this.#exited = true;
        resolve({ code, signal });
      });
      this.#child.once('error', reject);
    });
    // Looked at when somebody waits for it.
    this.exit.catch(() => undefined);
    this.#read = new Promise((resolve) => {
      this.#child.once('close', resolve);
    });
  }

  /**
   * Of the group and of the command; undefined when it could not be started. Then its streams are not to be touched: Node makes
   * none where no file descriptor was left for them.
   */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  get stdin(): ChildProcessWithoutNullStreams['stdin'] {
    return this.#child.stdin;
  }

  /** Where it was started with them. */
  get pipes(): Pipes | undefined {
    const [, , , incoming, outgoing] = this.#child.stdio as readonly unknown[];
    return incoming && outgoing ? ({ incoming, outgoing } as Pipes) : undefined;
  }

  /** Has all of it killed, at once. */
  kill(): void {
    this.#signal('SIGKILL');
  }

  get stdout(): ChildProcessWithoutNullStreams['stdout'] {
    return this.#child.stdout;
  }

  get stderr(): ChildProcessWithoutNullStreams['stderr'] {
    return this.#child.stderr;
  }

  /**
   * Resolves when no process of the group lives and its output has been read. Those that live are told to end
   * (SIGTERM), and killed when they still do after `grace` ms; when the command itself has ended already, once
   * they have had a moment to print the rest.
   */
  async end(grace: number): Promise<void> {
    if (this.pid === undefined) return;
    if (this.#exited) await within(LAST_WORDS, this.#read);
    if (this.#signal('SIGTERM') && !(await this.#gone(grace))) {
      this.#signal('SIGKILL');
      await this.#gone(BURIAL);
    }
    // What left the group may have taken the pipes along.
    await within(LAST_WORDS, this.#read);
    for (const stream of this.#child.stdio) stream?.destroy();
  }

  async #gone(milliseconds: number): Promise<boolean> {
    const until = performance.now() + milliseconds;
    for (let pause = 2; this.#alive(); pause = Math.min(50, pause * 2)) {
      const left = until - performance.now();
      if (left <= 0) return false;
      await sleep(Math.min(pause, left));
    }
    return true;
  }

  #alive(): boolean {
    if (!this.#signal(0)) return false;
    return !this.#exited || process.platform !== 'linux' || !onlyZombies(this.pid ?? 0);
  }

  /** False: there is nobody to get it. */
  #signal(signal: NodeJS.Signals | 0): boolean {
    if (this.pid === undefined) return false;
    if (process.platform === 'win32') return this.#child.kill(signal);
    try {
      return process.kill(-this.pid, signal);
    } catch (error) {
      // EPERM: somebody is there, under an account that is none of ours.
      return (error as NodeJS.ErrnoException).code === 'EPERM';
    }
  }
}

/** Whether all that is left of a group are dead processes that nobody has asked for; so it is where no init runs. */
function onlyZombies(group: number): boolean {
  try {
    for (const name of readdirSync('/proc')) {
      if (/^\d+$/.test(name) && livesIn(group, name)) return false;
    }
    return true;
  } catch {
    return false;
  }
}

function livesIn(group: number, pid: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Behind the name, which may contain anything: state, parent, group.
    const [state = '', , itsGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(itsGroup) === group && !'ZX'.includes(state);
  } catch {
    // It has ended meanwhile.
    return false;
  }
}

async function within(milliseconds: number, promise: Promise<unknown>): Promise<void> {
  const limit = new AbortController();
  const { signal } = limit;
  await Promise.race([promise, sleep(milliseconds, undefined, { signal }).catch(() => undefined)]);
  limit.abort();
}
