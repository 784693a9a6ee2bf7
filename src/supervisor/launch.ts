/** Starts children: what is run for each kind of process, in a process group of its own, and what is heard of it. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config.ts';
import { environmentOf } from '../config-environment.ts';
import { handlersDeadline } from '../daemon/crews.ts';
import { pathsOf } from '../daemon/place.ts';
import { readState } from '../daemon/state.ts';
import { QueueError, escapeControls } from '../errors.ts';
import { memberLog, stderrRelay } from '../log/crew-events.ts';
import { memoryOf } from '../worker/crew/evidence.ts';
import { ASSIGNMENT, type Assignment } from '../worker/crew/protocol.ts';
import { Group, type Exit } from '../worker/exec/group.ts';
import { Keeper } from '../worker/exec/keeper.ts';
import type { LogSink } from '../worker/log.ts';
import { Channel } from './channel.ts';
import { lifelineOf } from './lifeline.ts';
import { Rate, readLines } from './lines.ts';
import { MARK, type Register } from './orphans.ts';
import { toTold, toldByWorker, type Begin, type Order, type Told } from './protocol.ts';
import type { ProcessSpec } from './shape.ts';

/** In dist/: what runs children runs there. */
const QUEUE_WORKER = fileURLToPath(new URL('../../bin/queue-worker.js', import.meta.url));
const QUEUE_DAEMON = fileURLToPath(new URL('../../bin/queue-daemon.js', import.meta.url));
const HOST = fileURLToPath(new URL('../../bin/queue-daemon/host.js', import.meta.url));
const LIFELINE = new URL('../../bin/queue-daemon/lifeline.js', import.meta.url).href;

/** What a program that is run for a failure is told, in its environment. */
const FAILED_CHILD = 'SUPERVISOR_CHILD';
const FAILED_WHY = 'SUPERVISOR_WHY';
/** How often it is looked whether a daemon has come up; ms. */
const LOOK_EVERY = 100;
/** Lines and events that a child may tell through its channel in a second. */
const TOLD_RATE = 500;

/** A child that was started. */
export interface Launched {
  /** Undefined: the system has refused to start it. */
  readonly pid: number | undefined;
  /** Resolves when its first process has ended; others of its group may live. Never rejects. */
  readonly exit: Promise<Exit>;
  /** Why it could not be started, or ended, in its own words or the last of its stderr; '' when it has said nothing. */
  readonly lastWords: string;
  /** Bytes of resident memory of its first process. */
  readonly memory: number | undefined;
  /** Says something to a class. Errors: CHILD_GONE, CHILD_BUSY, MESSAGE_TOO_LARGE. */
  send(order: Order): void;
  /**
   * Resolves when nothing of it lives and all it has told is heard: told to end, and killed when it still lives after so
   * many ms.
   */
  end(grace: number): Promise<void>;
  /** Has all of it killed at once; `end` resolves soon after. */
  kill(): void;
}

export interface LaunchListeners {
  onTold: (told: Told) => void;
}

export interface LauncherOptions {
  config: Config;
  log: LogSink;
  register: Register;
}

/** Starts the children of one supervisor. */
export class Launcher {
  /** By which children are started from now on. */
  config: Config;
  readonly #log: LogSink;
  readonly #register: Register;
  /** Kills programs when this process is killed; made for the first. */
  #keeper: Keeper | undefined;

  constructor({ config, log, register }: LauncherOptions) {
    this.config = config;
    this.#log = log;
    this.#register = register;
  }

  launch(spec: ProcessSpec, id: string, { onTold }: LaunchListeners): Launched {
    const mark = this.#register.expect(spec.stopDeadline);
    const { words, env } = commandOf(spec, id, this.config);
    const hasChannel = spec.kind === 'class' || spec.kind === 'worker';
    let group: Group;
    try {
      group = new Group(words, { ...env, [MARK]: mark }, hasChannel);
    } catch (error) {
      // An argument of which the system can make nothing, such as one with a NUL, or too many.
      this.#register.ended(mark);
      return stillborn(error);
    }
    if (group.pid !== undefined) this.#register.began(mark, group.pid);
    const keeper = spec.kind === 'exec' && group.pid !== undefined ? this.#keep() : undefined;
    if (group.pid !== undefined) keeper?.began(group.pid);
    return new Running(group, {
      spec,
      id,
      config: this.config,
      log: this.#log,
      onTold,
      onGone: () => {
        if (group.pid !== undefined) keeper?.ended(group.pid);
        this.#register.ended(mark);
      },
    });
  }

  /** Starts a program for somebody to be told; it is nobody's child. */
  readonly alarm = (command: readonly string[], { child, why }: { child: string; why: string }): void => {
    const failed = (error: unknown): void =>
      this.#log('ERROR', `${escapeControls(command[0] ?? '')}: ${refusal(error)}`, { child });
    try {
      const told = spawn(command[0] ?? '', command.slice(1), {
        stdio: 'ignore',
        detached: true,
        windowsHide: true,
        env: { ...process.env, [FAILED_CHILD]: child, [FAILED_WHY]: why },
      });
      told.once('error', failed).unref();
    } catch (error) {
      failed(error);
    }
  };

  /** To be called when no child is left. */
  async close(): Promise<void> {
    await this.#keeper?.close();
    this.#register.close();
  }

  /** Windows has no groups to keep. */
  #keep(): Keeper | undefined {
    if (process.platform === 'win32') return undefined;
    this.#keeper ??= new Keeper((why) => {
      this.#keeper = undefined;
      this.#log(
        'WARN',
        `/bin/sh ${why}: should this process be killed, programs that run now go on until its next start`,
        {},
      );
    });
    return this.#keeper;
  }
}

interface RunningOptions {
  spec: ProcessSpec;
  id: string;
  config: Config;
  log: LogSink;
  onTold: (told: Told) => void;
  onGone: () => void;
}

class Running implements Launched {
  readonly pid: number | undefined;
  readonly exit: Promise<Exit>;
  readonly #group: Group;
  readonly #onGone: () => void;
  readonly #onTold: (told: Told) => void;
  #channel: Channel | undefined;
  #said = '';
  #printed: () => string;
  #looking: NodeJS.Timeout | undefined;
  #ending: Promise<void> | undefined;

  constructor(group: Group, options: RunningOptions) {
    const { spec, id, config, log, onTold, onGone } = options;
    this.#group = group;
    this.#onGone = onGone;
    this.#onTold = onTold;
    this.pid = group.pid;
    this.exit = group.exit.catch((error: unknown) => {
      this.#said = refusal(error);
      return { code: null, signal: null };
    });
    if (this.pid === undefined) {
      this.#printed = () => '';
      return;
    }
    // Nobody has anything to say to it but over its channel.
    group.stdin.on('error', () => undefined);
    group.stdin.end();
    const about = { process: spec.name, child: id };
    const sink: LogSink = (level, text, fields) => log(level, escapeControls(text), { ...fields, ...about });
    const relay = (stream: 'stdout' | 'stderr'): (() => string) => {
      const onLine = (line: string): void => log('INFO', line, { ...about, stream });
      return readLines(group[stream], {
        onLine,
        // Coda's own programs write their log as JSON.
        onLogged: stderrRelay(sink, (line) => onLine(escapeControls(line))),
        onLeftOut: (count) => log('WARN', `${count} lines of its ${stream} were left out`, about),
      });
    };
    relay('stdout');
    this.#printed = relay('stderr');
    this.#listen(spec, id, config, log);
  }

  get lastWords(): string {
    return this.#said === '' ? this.#printed() : this.#said;
  }

  get memory(): number | undefined {
    return this.pid === undefined ? undefined : memoryOf(this.pid);
  }

  send(order: Order): void {
    if (!this.#channel) throw new QueueError('CHILD_GONE', 'it has no channel');
    this.#channel.send(order);
  }

  end(grace: number): Promise<void> {
    this.#ending ??= this.#end(grace);
    return this.#ending;
  }

  kill(): void {
    this.#group.kill();
  }

  async #end(grace: number): Promise<void> {
    clearInterval(this.#looking);
    try {
      // On Windows, where the signal is the end at once, this would be all it hears.
      this.#channel?.send({ type: 'stop' });
    } catch {
      // The signal says the same.
    }
    await this.#group.end(grace);
    this.#channel?.close();
    this.#onGone();
  }

  #listen(spec: ProcessSpec, id: string, config: Config, log: LogSink): void {
    const about = { process: spec.name, child: id };
    if (spec.kind === 'class') {
      const channel = this.#open(toTold, about, log);
      const { name, params, target, stopDeadline } = spec;
      // What others are configured with, passwords perhaps, is none of its business.
      const own = { ...config, processes: [] };
      const begin: Begin = { name, id, path: target, params, config: own, stopDeadline, master: process.pid };
      channel?.send({ type: 'begin', begin });
    } else if (spec.kind === 'worker') this.#open(toldByWorker, about, log);
    else if (spec.kind === 'daemon') this.#lookForDaemon(spec.target, config);
  }

  /** @param read what a message of such a child says, if it is one. */
  #open(
    read: (message: unknown) => Told | undefined,
    about: { process: string; child: string },
    log: LogSink,
  ): Channel | undefined {
    const { pipes } = this.#group;
    if (!pipes) return undefined;
    const rate = new Rate(TOLD_RATE, (count) =>
      log('WARN', `${count} events and lines that it told were left out`, about),
    );
    const channel = new Channel(pipes, {
      onMessage: (message) => {
        const told = read(message);
        if (!told) {
          if (rate.take()) log('WARN', 'it has said what no child says', about);
        } else if (told.type === 'log') {
          if (rate.take()) log(told.level, escapeControls(told.text), { ...told.fields, ...about });
        } else if (told.type !== 'event' || rate.take()) this.#heed(told);
      },
      onEnd: (why) => {
        rate.tell();
        if (why === undefined) return;
        this.#said = `it sent ${why}`;
        // What it says next cannot be understood.
        this.kill();
      },
    });
    this.#channel = channel;
    return channel;
  }

  #heed(told: Told): void {
    if (told.type === 'failed') this.#said = escapeControls(told.error.message);
    this.#onTold(told);
  }

  /** A daemon says in its state file that it is up. */
  #lookForDaemon(name: string, { daemon: { stateDir } }: Config): void {
    const { state } = pathsOf(stateDir, name);
    this.#looking = setInterval(() => {
      try {
        const said = readState(state);
        if (said?.pid !== this.pid || said?.upAt == null) return;
      } catch {
        return;
      }
      clearInterval(this.#looking);
      this.#heed({ type: 'ready', verifies: false });
    }, LOOK_EVERY);
  }
}

interface Command {
  words: readonly string[];
  env: NodeJS.ProcessEnv;
}

function commandOf(spec: ProcessSpec, id: string, config: Config): Command {
  const { kind, target, args, stopDeadline } = spec;
  const node = [process.execPath, ...process.execArgv, `--title=coda: ${id}`];
  const watching = [...node, `--import=${LIFELINE}`];
  const lifeline = lifelineOf(process.pid, stopDeadline);
  switch (kind) {
    case 'exec':
      return { words: [target, ...args], env: process.env };
    case 'class':
      return { words: [...node, HOST], env: process.env };
    case 'worker': {
      const { queue = target, concurrency = config.worker.concurrency } = spec;
      const worker = { ...config.worker, stopDeadline: handlersDeadline(stopDeadline) };
      const settings = environmentOf(memberLog({ ...config, worker }));
      const assignment: Assignment = { parent: process.pid, line: 'pipe', tellsEach: false, settings };
      return {
        words: [...watching, QUEUE_WORKER, `--queue=${queue}`, `--concurrency=${concurrency}`, '--', target],
        env: { ...process.env, ...lifeline, [ASSIGNMENT]: JSON.stringify(assignment) },
      };
    }
    case 'daemon': {
      const { cacheRoot, durability } = config.queue;
      const flags = [
        ...(config.file === undefined ? [] : [`--config=${config.file}`]),
        `--cache-root=${cacheRoot}`,
        `--durability=${durability}`,
        `--daemons=${config.daemon.daemonsDir}`,
      ];
      return {
        words: [...watching, QUEUE_DAEMON, 'run', ...flags, '--', target],
        env: {
          ...process.env,
          // What it has beyond this is for its end, and that of what it has started.
          CODA_STOP_DEADLINE: `${handlersDeadline(stopDeadline)}ms`,
          // Its log joins that of the supervisor.
          CODA_FORMAT: 'json',
          CODA_DESTINATION: 'stderr',
          ...lifeline,
        },
      };
    }
  }
}

function stillborn(cause: unknown): Launched {
  const gone = (): never => {
    throw new QueueError('CHILD_GONE', 'it was never started');
  };
  return {
    pid: undefined,
    exit: Promise.resolve({ code: null, signal: null }),
    lastWords: refusal(cause),
    memory: undefined,
    send: gone,
    end: () => Promise.resolve(),
    kill: () => undefined,
  };
}

function refusal(error: unknown): string {
  return `cannot be started: ${escapeControls((error as Error).message)}`;
}
