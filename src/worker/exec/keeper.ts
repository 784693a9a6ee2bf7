/**
 * Ends the commands of a worker that dies: a little shell that is told of every process group that begins and ends, and
 * kills those that are left when the pipe to it closes. The system closes that however the worker ends, kill -9 included;
 * nothing else is told of such an end. A kill in the instant between the start of a command and the word of it
 * leaves the command running.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Writable } from 'node:stream';

/** Signals that mean the worker (Ctrl-C, a service being stopped) do not mean its keeper, which must be the last to go. */
const SCRIPT = `
trap '' HUP INT TERM
groups=
while read -r what group; do
  others=
  for one in $groups; do [ "$one" = "$group" ] || others="$others $one"; done
  groups=$others
  [ "$what" = began ] && groups="$groups $group"
done
for one in $groups; do kill -s KILL -- "-$one" 2>/dev/null; done
exit 0
`;

export class Keeper {
  readonly #shell: ChildProcess;
  readonly #words: Writable | null;
  readonly #ended: Promise<void>;
  #closing = false;

  /** @param onLoss called when it ends before it is closed: from then on nothing ends the commands of a killed worker. */
  constructor(onLoss: (why: string) => void) {
    this.#shell = spawn('/bin/sh', ['-c', SCRIPT, 'coda-keeper'], {
      // In a session of its own, and in nobody's way.
      detached: true,
      cwd: '/',
      env: {},
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#words = this.#shell.stdin;
    // Its end is what is looked at.
    this.#words?.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      const ended = (why: string): void => {
        if (!this.#closing) onLoss(why);
        resolve();
      };
      this.#shell.once('exit', (code, signal) => ended(`ended with ${signal ?? code}`));
      this.#shell.once('error', (error) => ended(error.message));
    });
    this.#shell.unref();
  }

  began(group: number): void {
    this.#words?.write(`began ${group}\n`);
  }

  ended(group: number): void {
    this.#words?.write(`ended ${group}\n`);
  }

  /** Resolves when it has ended. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#shell.ref();
    this.#words?.end();
    await this.#ended;
  }
}
