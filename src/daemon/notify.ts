/**
 * Tells systemd how a daemon that it runs gets on: that it has come up, reloads, stops; and again and again that it is not
 * stalled. That word is only given while the daemon is heard of within its limit, so an iteration that hangs ends
 * the pings, and so does a blocked event loop; systemd then ends the process, and starts it again.
 *
 * Node has no datagram sockets, so each word costs the start of `systemd-notify`; they go one after the other. Where
 * nobody listens (NOTIFY_SOCKET) nothing of this happens.
 */
import { spawn } from 'node:child_process';
import type { Keeper } from './state.ts';

/** What systemd wants of this process; see sd_notify(3). */
export interface NotifyTarget {
  /** Of `systemd-notify`. */
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds within which it wants to hear again; undefined: it does not. */
  readonly watchdog: number | undefined;
}

const VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const;
/** Pings for each length of the watchdog. */
const PINGS = 3;
const LONGEST_STATUS = 300;

/** Undefined where nobody listens. Takes the variables out of `env`: what this process starts is not to speak for it. */
export function takeNotifyTarget(env: NodeJS.ProcessEnv): NotifyTarget | undefined {
  const [socket, microseconds, pid] = VARIABLES.map((name) => env[name]);
  for (const name of VARIABLES) delete env[name];
  if (socket === undefined || socket === '') return undefined;
  const isMeant = pid === undefined || pid === String(process.pid);
  const watchdog =
    isMeant && /^[1-9]\d{0,15}$/.test(microseconds ?? '') ? Number(microseconds) / 1000 : undefined;
  return { env: { PATH: env['PATH'], NOTIFY_SOCKET: socket }, watchdog };
}

export interface NotifierOptions {
  target: NotifyTarget;
  /** Milliseconds within which the daemon must be heard of, where it declares nothing else. */
  limit: number;
  /** Called once, when systemd cannot be told. Must not throw. */
  onTrouble: (why: string) => void;
}

/** A keeper that keeps as `keeper` does, and tells systemd. */
export function notifying(keeper: Keeper, options: NotifierOptions): Keeper {
  return new Notifier(keeper, options);
}

class Notifier implements Keeper {
  readonly #keeper: Keeper;
  readonly #telling: Telling;
  #limit: number;
  /** Monotonic ms; what is heard of it later comes too late. */
  #due = Infinity;
  #pings: NodeJS.Timeout | undefined;
  #status = 'coming up';
  #sessions = 0;
  #trouble = '';
  #health = '';

  constructor(keeper: Keeper, { target, limit, onTrouble }: NotifierOptions) {
    this.#keeper = keeper;
    this.#limit = limit;
    this.#telling = new Telling(target, onTrouble);
    this.#heard();
    // It begins before the daemon has come up.
    if (target.watchdog !== undefined)
      this.#pings = setInterval(() => this.#ping(), target.watchdog / PINGS).unref();
    this.#tell('STATUS');
  }

  started(limit?: number): void {
    this.#keeper.started(limit);
    this.#limit = limit ?? this.#limit;
    this.#heard();
    this.#status = 'working';
    this.#tell('READY');
  }

  iterationStarted(): void {
    this.#keeper.iterationStarted();
    this.#heard();
    this.#status = 'working';
  }

  progressed(): void {
    this.#keeper.progressed();
    this.#heard();
  }

  iterationEnded(thrown?: Parameters<Keeper['iterationEnded']>[0]): void {
    this.#keeper.iterationEnded(thrown);
    this.#sessions++;
    this.#trouble = thrown ? ', the last one failed' : '';
    this.#heard();
  }

  troubled(troubles: readonly string[]): void {
    this.#keeper.troubled(troubles);
  }

  sleeping(until: Date): void {
    this.#keeper.sleeping(until);
    this.#heard(Math.max(0, until.getTime() - Date.now()));
    this.#status = `sleeping until ${until.toISOString()}`;
  }

  checked(sound: boolean, reason = ''): void {
    this.#keeper.checked(sound, reason);
    this.#health = sound ? '' : `, unhealthy: ${reason}`;
  }

  reloading(): void {
    this.#keeper.reloading();
    this.#heard();
    this.#status = 'reloading';
    this.#tell('RELOADING');
  }

  reloaded(thrown?: Parameters<Keeper['reloaded']>[0]): void {
    this.#keeper.reloaded(thrown);
    this.#heard();
  }

  stopping(milliseconds: number): void {
    this.#keeper.stopping(milliseconds);
    this.#heard(milliseconds);
    this.#status = 'stopping';
    this.#tell('STOPPING');
  }

  ended(how: Parameters<Keeper['ended']>[0]): void {
    clearInterval(this.#pings);
    this.#keeper.ended(how);
  }

  /** @param expected ms in which nothing need be heard. */
  #heard(expected = 0): void {
    this.#due = performance.now() + expected + this.#limit;
  }

  #ping(): void {
    if (performance.now() < this.#due) this.#tell('WATCHDOG');
  }

  #tell(what: Word): void {
    const done = `${this.#sessions} ${this.#sessions === 1 ? 'iteration' : 'iterations'} so far${this.#trouble}`;
    this.#telling.tell(what, `${this.#status}; ${done}${this.#health}`);
  }
}

type Word = 'READY' | 'RELOADING' | 'STOPPING' | 'WATCHDOG' | 'STATUS';

class Telling {
  readonly #target: NotifyTarget;
  readonly #onTrouble: (why: string) => void;
  /** What came while something was being told; it goes together, the last status with it. */
  #waiting = new Map<string, string>();
  #isTelling = false;
  #hasComplained = false;

  constructor(target: NotifyTarget, onTrouble: (why: string) => void) {
    this.#target = target;
    this.#onTrouble = onTrouble;
  }

  tell(what: Word, status: string): void {
    // A reload that is over already, or comes to nothing because of a stop, is not worth a word.
    if (what !== 'WATCHDOG' && what !== 'STATUS')
      for (const other of ['READY', 'RELOADING']) this.#waiting.delete(other);
    if (what !== 'STATUS') this.#waiting.set(what, '1');
    this.#waiting.delete('STATUS');
    this.#waiting.set('STATUS', oneLine(status));
    // The process may have ended before whatever is being told has been.
    if (!this.#isTelling || what === 'STOPPING') this.#next();
  }

  #next(): void {
    if (this.#waiting.size === 0) return;
    const words = [...this.#waiting].map(([name, value]) => `${name}=${value}`);
    this.#waiting = new Map();
    this.#isTelling = true;
    const over = (trouble?: string): void => {
      if (trouble !== undefined && !this.#hasComplained) {
        this.#hasComplained = true;
        this.#onTrouble(`systemd cannot be told how the daemon gets on: systemd-notify ${trouble}`);
      }
      if (!this.#isTelling) return;
      this.#isTelling = false;
      this.#next();
    };
    const child = spawn('systemd-notify', words, { stdio: 'ignore', env: this.#target.env });
    child.once('error', ({ message }) => over(`cannot be started: ${message}`));
    child.once('exit', (code, signal) =>
      over(code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`),
    );
  }
}

/** A line break would begin another word of the protocol. */
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- these are the characters it is for
  return text.slice(0, LONGEST_STATUS).replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}
