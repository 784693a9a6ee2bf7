/**
 * Kills a process that stands still when the one that was to kill it has died first: a little shell, which waits to be
 * dismissed, and finds its pipe closed however its parent ends.
 */
import { spawn, type ChildProcess } from 'node:child_process';

/** Signals that end the crew (Ctrl-C, a service being stopped) do not mean its guard. */
const SCRIPT = `trap '' HUP INT TERM; read -r word || kill -s KILL "$1"`;

export class Guard {
  readonly #shell: ChildProcess;

  constructor(pid: number) {
    this.#shell = spawn('/bin/sh', ['-c', SCRIPT, 'coda-guard', String(pid)], {
      // In a session of its own, and in nobody's way.
      detached: true,
      cwd: '/',
      env: {},
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    // Where there is no shell, there is no guard: the parent is all the more likely to live.
    this.#shell.on('error', () => undefined);
    this.#shell.stdin?.on('error', () => undefined);
    this.#shell.unref();
  }

  /** To be called when the process has been killed. */
  dismiss(): void {
    this.#shell.stdin?.end('dismissed\n');
  }
}
