/**
 * The configuration: defaults < config.ini < environment < flags, validated once, frozen.
 *
 * Paths from the file, and defaults beside it, count from the file's folder; those from the environment and from
 * flags, which a person types, from the working directory.
 */
import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Durability } from './backend.ts';
import {
  ALL_KEYS,
  API_KEYS,
  CALL_KEYS,
  DAEMON_KEYS,
  HTTP_KEYS,
  LOG_KEYS,
  QUEUE_KEYS,
  SECTIONS,
  SUPERVISOR_KEYS,
  WORKER_KEYS,
  variableOf,
  type ConfigKey,
  type Key,
  type LogFormat,
  type LogThreshold,
} from './config-keys.ts';
import { takeProcesses, type ProcessSection } from './config-processes.ts';
import { QueueError, quote } from './errors.ts';
import type { FailureActions } from './failure-actions.ts';
import type { DrainedQueue } from './queue-list.ts';
import { nearest } from './suggest.ts';

export interface Config {
  /** The file that was read, absolute; absent when there was none. */
  readonly file?: string;
  readonly queue: {
    readonly queueType: string;
    /** Absolute. */
    readonly cacheRoot: string;
    readonly durability: Durability;
    /** Milliseconds between two syncs under `interval`. */
    readonly syncInterval: number;
    readonly maxMessageBytes: number;
    /** Permission bits of the files below cacheRoot; folders also get x where these have r. */
    readonly fileMode: number;
    /** How many finished messages a queue remembers. */
    readonly keepOutcomes: number;
  };
  readonly worker: {
    /** Absolute. */
    readonly workersDir: string;
    readonly concurrency: number;
    /** Milliseconds, as are all the following but the last. */
    readonly lease: number;
    readonly stopDeadline: number;
    readonly backoff: number;
    readonly backoffMax: number;
    /** Claims that may end with the death of their holder before the message counts as failed. */
    readonly crashLimit: number;
  };
  /** For the worker that delivers by HTTP. */
  readonly http: {
    /** Where to, http: or https:, perhaps with credentials; '' when not said. */
    readonly httpUrl: string;
    /** Milliseconds for one request. */
    readonly httpTimeout: number;
    /** What requests are signed with: a text, or whsec_ and base64; '': they are not. */
    readonly httpSecret: string;
  };
  readonly daemon: {
    /** Absolute, as is the next. */
    readonly daemonsDir: string;
    /** Where each daemon has its pid, its state and its log. */
    readonly stateDir: string;
    /** Milliseconds within which a daemon must be heard of, beyond the time that it sleeps; see `daemon/state.ts`. */
    readonly stallAfter: number;
    /** What the daemon that ships as "queue" drains. */
    readonly queues: readonly DrainedQueue[];
    /** See `daemon/recovery.ts`, as for the next two. */
    readonly onFailure: FailureActions;
    readonly recoveryDelay: number;
    readonly resetPeriod: number;
    /** Whether an end that nobody asked for leaves with `exitCode`, or with 0. */
    readonly exitMode: 'failure' | 'success';
    readonly exitCode: number;
  };
  readonly log: {
    readonly level: LogThreshold;
    /** `stdout`, `stderr`, or an absolute path. */
    readonly destination: string;
    /** `auto`: pretty on a terminal, as the journal of systemd wants it where it goes there, json elsewhere. */
    readonly format: LogFormat;
    /** Bytes at which a file is put aside and a new one begun; 0: never. */
    readonly rotateSize: number;
    /** Milliseconds after which it is; 0: never. */
    readonly rotateAge: number;
    /** How many files that were put aside are kept. */
    readonly rotateKeep: number;
    /** Fields whose values are not logged: names, or paths with dots between. */
    readonly redact: readonly string[];
  };
  /** What holds for children that do not say otherwise; see `supervisor/policy.ts`. */
  readonly supervisor: {
    /** Milliseconds, as are the next two. */
    readonly restartDelay: number;
    readonly restartDelayMax: number;
    readonly restartReset: number;
    /** Failures within `restartReset` after which a child stays down; 0: never. */
    readonly restartLimit: number;
  };
  /** The control API of the supervisor. */
  readonly api: {
    /** Absolute; '' when not said: see `api/address.ts`. */
    readonly apiSocket: string;
    /** 0: no TCP. */
    readonly apiPort: number;
    /** A loopback address. */
    readonly apiHost: string;
    /** What a request may call this host besides the names of loopback; in lower case. */
    readonly apiNames: readonly string[];
    /** Absolute. */
    readonly controllersDir: string;
  };
  /** The call server. */
  readonly call: {
    readonly callScheme: 'tcp' | 'udp';
    readonly callHost: string;
    /** 0: any that is free. */
    readonly callPort: number;
    /** What clients have to know; '': nothing. */
    readonly callToken: string;
    readonly callConnections: number;
    /** Where methods of the user's are. Absolute. */
    readonly methodsDir: string;
  };
  /** The sections [process:NAME] as they stand in the file, not checked yet. */
  readonly processes: readonly ProcessSection[];
}

/** Text as in the file, or a number of milliseconds, bytes, or mode bits. Undefined counts as not given. */
type ConfigFlags = { readonly [K in ConfigKey]?: string | number | undefined };

export interface ConfigInput {
  /** The file to read; else CODA_CONFIG, else ./config.ini when that exists. A file that is named must exist. */
  config?: string | undefined;
  /** Default: the process's. */
  cwd?: string;
  /** Default: the process's. */
  env?: Readonly<Record<string, string | undefined>>;
  flags?: ConfigFlags;
  /**
   * Is told each thing that is wrong, instead of its being thrown; its default holds in its place. For those that must act
   * whatever the file says. A file that cannot be read is an error all the same.
   */
  onWrong?: (error: QueueError) => void;
}

const LARGEST_FILE = 1024 * 1024;
/** Windows finds a variable however it is written. */
const OURS = /^CODA_/i;

/**
 * Resolves with the frozen configuration. Reads at most one file; imports the ini parser only when something stands there.
 * Errors: CONFIG_INVALID, naming where the value came from, what was expected and what was there.
 */
export async function loadConfig(input: ConfigInput = {}): Promise<Config> {
  const cwd = input.cwd ?? process.cwd();
  const env = input.env ?? process.env;
  const wrong = input.onWrong ?? raise;
  const file = await readConfigFile(input.config ?? nonEmpty(env['CODA_CONFIG']), cwd);
  const { values: fromFile, processes } = file?.text ? await parseFile(file.path, file.text, wrong) : NOTHING;
  const variables = Object.keys(env).filter((name) => OURS.test(name));
  refuseNearMisses(variables, wrong);
  refuseUnknownFlags(input.flags ?? {});

  const source: Source = {
    cwd,
    // Most programs are given none: nothing to ask the environment for, key by key.
    env: variables.length > 0 ? env : undefined,
    flags: input.flags ?? {},
    file: file?.path,
    fromFile,
    wrong,
  };
  const config: Config = {
    ...(file ? { file: file.path } : {}),
    queue: readSection('queue', QUEUE_KEYS, source),
    worker: readSection('worker', WORKER_KEYS, source),
    http: readSection('http', HTTP_KEYS, source),
    daemon: readSection('daemon', DAEMON_KEYS, source),
    log: readSection('log', LOG_KEYS, source),
    supervisor: readSection('supervisor', SUPERVISOR_KEYS, source),
    api: readSection('api', API_KEYS, source),
    call: readSection('call', CALL_KEYS, source),
    processes,
  };
  if (config.worker.backoffMax < config.worker.backoff) {
    wrong(
      new QueueError(
        'CONFIG_INVALID',
        `${file ? `${quote(file.path, 300)}: ` : ''}[worker] backoffMax: expected at least backoff (${config.worker.backoff} ms), received ${config.worker.backoffMax} ms`,
        file ? { path: file.path } : {},
      ),
    );
  }
  return Object.freeze(config);
}

interface Source {
  cwd: string;
  env: Readonly<Record<string, string | undefined>> | undefined;
  flags: ConfigFlags;
  file: string | undefined;
  fromFile: ReadonlyMap<string, string>;
  wrong: Wrong;
}

type Wrong = (error: QueueError) => void;

function raise(error: QueueError): never {
  throw error;
}

type Values<Keys> = { readonly [K in keyof Keys]: Keys[K] extends Key<infer Value> ? Value : never };

function readSection<Keys extends Readonly<Record<string, Key<unknown>>>>(
  section: string,
  keys: Keys,
  source: Source,
): Values<Keys> {
  const values: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(keys)) values[name] = readKey(section, name, key, source);
  return Object.freeze(values) as Values<Keys>;
}

function readKey(section: string, name: string, key: Key<unknown>, source: Source): unknown {
  const besideFile = source.file === undefined ? source.cwd : dirname(source.file);
  const flag = source.flags[name as ConfigKey];
  const fromEnv = nonEmpty(source.env?.[variableOf(name)]);
  const fromFile = source.fromFile.get(name);
  const typed = flag !== undefined ? flag : fromEnv;
  const given = typed !== undefined ? typed : (fromFile ?? key.fallback);
  const known = typeof given === 'string' || typeof given === 'number';
  const value = known ? key.parse(given, typed === undefined ? besideFile : source.cwd) : undefined;
  if (value !== undefined) return value;
  const where =
    flag !== undefined
      ? `option ${name}`
      : fromEnv !== undefined
        ? `environment variable ${variableOf(name)}`
        : fromFile !== undefined
          ? `${quote(source.file, 300)}, [${section}] ${name}`
          : `default of ${name}`;
  source.wrong(
    new QueueError(
      'CONFIG_INVALID',
      `${where}: expected ${key.expected}, received ${received(key, given)}`,
      source.file === undefined ? {} : { path: source.file },
    ),
  );
  return key.parse(key.fallback, besideFile);
}

/** What most programs find: told at once, without the thread pool and an error with its stack. */
function isMissing(file: string): boolean {
  try {
    return statSync(file, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}

async function readConfigFile(
  named: string | undefined,
  cwd: string,
): Promise<{ path: string; text: string } | undefined> {
  if (named !== undefined && (named === '' || named.includes('\0'))) {
    throw new QueueError(
      'CONFIG_INVALID',
      `expected the path of a configuration file, received ${quote(named)}`,
    );
  }
  const file = resolve(cwd, named ?? 'config.ini');
  if (named === undefined && isMissing(file)) return undefined;
  let bytes: Uint8Array;
  try {
    const handle = await open(file, 'r');
    try {
      const buffer = Buffer.allocUnsafe(LARGEST_FILE + 1);
      let length = 0;
      // Not by the size that stat tells, which a pipe does not have: `--config <(…)` works too.
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.length) break;
      }
      bytes = buffer.subarray(0, length);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (named === undefined && (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new QueueError(
      'CONFIG_INVALID',
      `expected a readable configuration file at ${quote(file, 300)}: ${why}`,
      {
        path: file,
        cause,
      },
    );
  }
  if (bytes.length > LARGEST_FILE)
    throw invalid(file, `expected at most ${LARGEST_FILE} bytes, received more`);
  try {
    // Also removes a byte order mark.
    return { path: file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch (cause) {
    throw new QueueError('CONFIG_INVALID', `${quote(file, 300)}: expected UTF-8 text`, { path: file, cause });
  }
}

interface Parsed {
  /** By key, as text; every section and key known, none given twice. */
  readonly values: ReadonlyMap<string, string>;
  readonly processes: readonly ProcessSection[];
}

const NOTHING: Parsed = { values: new Map(), processes: Object.freeze([]) };

async function parseFile(file: string, text: string, wrong: Wrong): Promise<Parsed> {
  const lines = text.split(/\r\n|\r|\n/).filter((line, index) => {
    // The parser drops these silently; a value that does nothing would be a trap.
    // Without a = the parser takes the key to be true.
    const isSound = !(
      /^\s*=/.test(line) ||
      /^\s*[^;#]*__proto__/.test(line) ||
      /^\s*[^\s;#[][^=]*$/.test(line)
    );
    if (!isSound)
      wrong(invalid(file, `line ${index + 1}: expected key = value or [section], received ${shown(line)}`));
    return isSound;
  });
  const { default: ini } = await import('ini');
  // Without bracketed arrays a key given twice becomes an array, and so can be told.
  const parse = (text: string): Record<string, unknown> => ini.parse(text, { bracketedArray: false });
  const { processes, rest } = takeProcesses(lines, file, parse, wrong);
  const parsed = parse(rest.join('\n'));
  const values = new Map<string, string>();
  for (const [section, content] of Object.entries(parsed)) {
    const keys = Object.hasOwn(SECTIONS, section) ? SECTIONS[section] : undefined;
    if (content === null || typeof content !== 'object' || Array.isArray(content)) {
      wrong(invalid(file, `expected every key below a [section], received ${quote(section)} outside any`));
    } else if (!keys)
      wrong(invalid(file, unknown('section', section, [...Object.keys(SECTIONS), 'process:NAME'])));
    else {
      for (const [name, value] of Object.entries(content)) {
        const why = whyNot(section, keys, name, value);
        if (why === undefined) values.set(name, String(value));
        else wrong(invalid(file, why));
      }
    }
  }
  return { values, processes };
}

/** What is wrong with a line, apart from what its value says; undefined: nothing. */
function whyNot(
  section: string,
  keys: Readonly<Record<string, Key<unknown>>>,
  name: string,
  value: unknown,
): string | undefined {
  if (!Object.hasOwn(keys, name)) return unknownKey(section, name);
  if (Array.isArray(value)) return `[${section}] ${name}: expected once, received ${value.length} times`;
  if (value !== null && typeof value === 'object')
    return `[${section}] ${name}: expected a plain value, received ${received(keys[name], value)}`;
  // The parser has cut it at a ; or # already.
  if (typeof value === 'string' && /^["']/.test(value))
    return `[${section}] ${name}: expected nothing behind the closing quote, received ${received(keys[name], value)}`;
  return undefined;
}

function received(key: Key<unknown> | undefined, value: unknown): string {
  return key?.hidden ? 'something else (not shown)' : quote(value);
}

/** A malformed line, unless it seems to hold what must not be shown. */
function shown(line: string): string {
  const hidden = Object.values(SECTIONS)
    .flatMap((keys) => Object.entries(keys))
    .find(([name, key]) => key.hidden && line.toLowerCase().includes(name.toLowerCase()));
  return hidden ? `something else (not shown, for it names ${hidden[0]})` : quote(line);
}

function unknownKey(section: string, name: string): string {
  const home = Object.entries(SECTIONS).find(([, keys]) => Object.hasOwn(keys, name))?.[0];
  if (home !== undefined)
    return `key ${quote(name)} belongs to section [${home}], received it in [${section}]`;
  return `[${section}] ${unknown('key', name, Object.keys(SECTIONS[section] ?? {}))}`;
}

/**
 * Other programs own variables that begin with CODA_, so only one that looks like a slip of the pen is refused:
 * CODA_CACHEROOT is, CODA_API_KEY is not.
 */
function refuseNearMisses(variables: readonly string[], wrong: Wrong): void {
  if (variables.length === 0) return;
  const known = new Set(['CODA_CONFIG', ...ALL_KEYS.map(variableOf)]);
  const bare = [...known].map((variable) => variable.slice('CODA_'.length));
  for (const variable of variables) {
    if (!variable.startsWith('CODA_') || known.has(variable)) continue;
    const near = nearest(variable.slice('CODA_'.length), bare);
    if (near !== undefined) {
      wrong(
        new QueueError(
          'CONFIG_INVALID',
          `unknown environment variable ${quote(variable)}; did you mean CODA_${near}?`,
        ),
      );
    }
  }
}

function refuseUnknownFlags(flags: ConfigFlags): void {
  for (const name of Object.keys(flags)) {
    if (!ALL_KEYS.includes(name)) throw new QueueError('CONFIG_INVALID', unknown('option', name, ALL_KEYS));
  }
}

function unknown(kind: string, name: string, candidates: readonly string[]): string {
  const near = nearest(name, candidates);
  return `unknown ${kind} ${quote(name)}; ${near === undefined ? `expected one of ${candidates.join(', ')}` : `did you mean ${near}?`}`;
}

function invalid(file: string, message: string): QueueError {
  return new QueueError('CONFIG_INVALID', `${quote(file, 300)}: ${message}`, { path: file });
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}
