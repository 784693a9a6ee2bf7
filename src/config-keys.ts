/**
 * The table of configuration keys: default, what is expected, how it is read. No two sections share a key, so a key
 * alone names its environment variable (`cacheRoot`: CODA_CACHE_ROOT) and its flag.
 */
import { resolve } from 'node:path';
import type { Durability } from './backend.ts';
import { LIST_OF_ACTIONS, parseFailureActions, type FailureActions } from './failure-actions.ts';
import { LIST_OF_QUEUES, parseQueueList, type DrainedQueue } from './queue-list.ts';
import { parseDuration, parseSize } from './units.ts';

/** How grave a line of a log is. */
export type LogLevel = 'TRACE' | 'DEBUG' | 'INFO' | 'WARN' | 'ERROR' | 'FATAL';
/** The least that is logged; with OFF nothing is. */
export type LogThreshold = LogLevel | 'OFF';
export type LogFormat = 'auto' | 'pretty' | 'json' | 'syslog';

/** How one key is read. */
export interface Key<Value> {
  readonly fallback: string;
  readonly expected: string;
  /** What was given is never shown: it is a secret, or may contain one. */
  readonly hidden?: true;
  /** @param folder what a relative path counts from. Undefined: not what was expected. */
  parse(given: string | number, folder: string): Value | undefined;
}

export const DAY = 86_400_000;
/** Node's timers overflow beyond 2^31 - 1 ms. */
export const LONGEST_TIMER = 24 * DAY;

const DURABILITIES: readonly Durability[] = ['always', 'interval', 'os'];
/** From what is told least often on. */
export const LEVELS: readonly LogThreshold[] = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'OFF'];
/** Whether an end that nobody asked for counts as a failure. */
const EXIT_MODES: readonly ('failure' | 'success')[] = ['failure', 'success'];
const NONE: readonly string[] = Object.freeze([]);
/** Without a port. */
const HOST_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const FIELD_NAME = /^[^\s"']+$/;
const CALL_SCHEMES: readonly ('tcp' | 'udp')[] = ['tcp', 'udp'];
const FORMATS: readonly LogFormat[] = ['auto', 'pretty', 'json', 'syslog'];

export const QUEUE_KEYS = {
  queueType: text('cache', 'the name of a queue type, such as cache', /^[a-z][a-z0-9-]{0,31}$/),
  cacheRoot: path('./queues'),
  durability: oneOf('always', DURABILITIES),
  syncInterval: duration('50ms', 1, 60_000, '1ms to 1m'),
  maxMessageBytes: size('16MiB', 1, 256 * 1024 ** 2, '1 to 256MiB'),
  fileMode: mode('0600'),
  keepOutcomes: count('1000', 0, 1_000_000),
};

export const WORKER_KEYS = {
  workersDir: path('./workers'),
  concurrency: count('1', 1, 10_000),
  lease: duration('30s', 100, DAY, '100ms to 1d'),
  stopDeadline: duration('25s', 0, LONGEST_TIMER, '0 to 24d'),
  backoff: duration('1s', 0, 365 * DAY, '0 to 365d'),
  backoffMax: duration('1h', 0, 365 * DAY, '0 to 365d'),
  crashLimit: count('3', 1, 1000),
};

export const DAEMON_KEYS = {
  daemonsDir: path('./daemons'),
  stateDir: path('./var'),
  stallAfter: duration('5m', 1000, LONGEST_TIMER, '1s to 24d'),
  queues: queueList(),
  onFailure: failureActions('restart'),
  recoveryDelay: duration('1m', 0, DAY, '0 to 1d'),
  resetPeriod: duration('1d', 1000, 365 * DAY, '1s to 365d', 'never'),
  exitMode: oneOf('failure', EXIT_MODES),
  exitCode: count('1', 1, 255),
};

/** What the worker that ships as workers/http.ts acts on. */
export const HTTP_KEYS = {
  httpUrl: url(),
  httpTimeout: duration('30s', 1, LONGEST_TIMER, '1ms to 24d'),
  httpSecret: secret(),
};

export const LOG_KEYS = {
  level: oneOf('INFO', LEVELS),
  destination: destination('stdout'),
  format: oneOf('auto', FORMATS),
  rotateSize: size('16MiB', 4096, 1024 ** 4, '4KiB to 1024GiB', 'never'),
  rotateAge: duration('0', 60_000, 365 * DAY, '1m to 365d', 'never'),
  rotateKeep: count('7', 1, 1000),
  redact: fieldPaths(),
};

/** What holds for children of the supervisor that do not say otherwise. */
export const SUPERVISOR_KEYS = {
  restartDelay: duration('1s', 0, DAY, '0 to 1d'),
  restartDelayMax: duration('1m', 0, DAY, '0 to 1d'),
  restartReset: duration('10m', 1000, 365 * DAY, '1s to 365d'),
  restartLimit: count('10', 0, 1000),
};

/** What the control API of the supervisor acts on. */
export const API_KEYS = {
  apiSocket: optionalPath(),
  apiPort: count('0', 0, 65_535),
  apiHost: text(
    '127.0.0.1',
    'an address of this machine alone: 127.0.0.1, another that begins with 127, or ::1',
    /^(127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}|::1)$/,
  ),
  apiNames: hostNames(),
  controllersDir: path('./controllers'),
};

/** What the call server, a daemon that ships, acts on. */
export const CALL_KEYS = {
  callScheme: oneOf('tcp', CALL_SCHEMES),
  callHost: text('127.0.0.1', 'the name or an address of a host', /^[A-Za-z0-9._:%-]{1,255}$/),
  callPort: count('4401', 0, 65_535),
  callToken: callToken(),
  callConnections: count('1000', 1, 100_000),
  methodsDir: path('./methods'),
};

export const SECTIONS: Readonly<Record<string, Readonly<Record<string, Key<unknown>>>>> = {
  queue: QUEUE_KEYS,
  worker: WORKER_KEYS,
  http: HTTP_KEYS,
  daemon: DAEMON_KEYS,
  log: LOG_KEYS,
  supervisor: SUPERVISOR_KEYS,
  api: API_KEYS,
  call: CALL_KEYS,
};

export type ConfigKey =
  | keyof typeof QUEUE_KEYS
  | keyof typeof WORKER_KEYS
  | keyof typeof HTTP_KEYS
  | keyof typeof DAEMON_KEYS
  | keyof typeof LOG_KEYS
  | keyof typeof SUPERVISOR_KEYS
  | keyof typeof API_KEYS
  | keyof typeof CALL_KEYS;

export const ALL_KEYS: readonly string[] = Object.values(SECTIONS).flatMap((keys) => Object.keys(keys));

export function variableOf(key: string): string {
  return `CODA_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

function within(value: number | undefined, least: number, most: number): number | undefined {
  return value !== undefined && value >= least && value <= most ? value : undefined;
}

function text(fallback: string, expected: string, pattern: RegExp): Key<string> {
  return { fallback, expected, parse: (given) => (pattern.test(String(given)) ? String(given) : undefined) };
}

function oneOf<Word extends string>(fallback: Word, words: readonly Word[]): Key<Word> {
  return {
    fallback,
    expected: `one of ${words.join(', ')}`,
    parse: (given) => words.find((word) => word === given),
  };
}

export function path(fallback: string): Key<string> {
  return {
    fallback,
    expected: 'a path',
    parse: (given, folder) => {
      const usable = typeof given === 'string' && given !== '' && !given.includes('\0');
      return usable ? resolve(folder, given) : undefined;
    },
  };
}

/** A path, or nothing. */
function optionalPath(): Key<string> {
  const some = path('');
  return {
    fallback: '',
    expected: 'a path, or nothing',
    parse: (given, folder) => (given === '' ? '' : some.parse(given, folder)),
  };
}

function destination(fallback: string): Key<string> {
  const file = path(fallback);
  return {
    fallback,
    expected: 'stdout, stderr or a path',
    parse: (given, folder) => (given === 'stdout' || given === 'stderr' ? given : file.parse(given, folder)),
  };
}

/** @param zero what 0 means, where it means something of its own. */
export function duration(
  fallback: string,
  least: number,
  most: number,
  range: string,
  zero?: string,
): Key<number> {
  return {
    fallback,
    expected: `${zeroIn(zero)}a duration of ${range}, with its unit (ms, s, m, h, d)`,
    parse: (given) => orZero(parseDuration(given), least, most, zero),
  };
}

function url(): Key<string> {
  return {
    fallback: '',
    expected: 'a URL that begins with http:// or https://, or nothing',
    hidden: true,
    parse: (given) => (given === '' || isHttpUrl(String(given)) ? String(given) : undefined),
  };
}

function isHttpUrl(text: string): boolean {
  try {
    const { protocol, username, password } = new URL(text);
    // Credentials go into a header of their own, unescaped.
    decodeURIComponent(username + password);
    return protocol === 'http:' || protocol === 'https:';
  } catch {
    return false;
  }
}

function secret(): Key<string> {
  return {
    fallback: '',
    expected: 'a text, or whsec_ and base64, or nothing',
    hidden: true,
    parse: (given) => {
      const text = String(given);
      const encoded = text.startsWith('whsec_') ? text.slice('whsec_'.length) : undefined;
      const sound =
        encoded === undefined ||
        /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$/.test(encoded);
      return sound ? text : undefined;
    },
  };
}

function callToken(): Key<string> {
  return {
    fallback: '',
    expected: 'a text of up to 1024 characters, or nothing',
    hidden: true,
    parse: (given) => (String(given).length <= 1024 ? String(given) : undefined),
  };
}

function queueList(): Key<readonly DrainedQueue[]> {
  return { fallback: '', expected: LIST_OF_QUEUES, parse: (given) => parseQueueList(String(given)) };
}

export function failureActions(fallback: string): Key<FailureActions> {
  return { fallback, expected: LIST_OF_ACTIONS, parse: (given) => parseFailureActions(String(given)) };
}

/** @param zero as of `duration`. */
export function size(
  fallback: string,
  least: number,
  most: number,
  range: string,
  zero?: string,
): Key<number> {
  return {
    fallback,
    expected: `${zeroIn(zero)}a size of ${range}`,
    parse: (given) => orZero(parseSize(given), least, most, zero),
  };
}

function zeroIn(zero: string | undefined): string {
  return zero === undefined ? '' : `0 (${zero}), or `;
}

function orZero(
  value: number | undefined,
  least: number,
  most: number,
  zero: string | undefined,
): number | undefined {
  return value === 0 && zero !== undefined ? 0 : within(value, least, most);
}

function hostNames(): Key<readonly string[]> {
  return {
    fallback: '',
    expected: 'names of hosts such as coda.example.org, with commas between',
    parse: (given) => parseList(String(given).toLowerCase(), (name) => HOST_NAME.test(name)),
  };
}

function fieldPaths(): Key<readonly string[]> {
  return {
    fallback: '',
    expected: 'names of fields, or paths such as headers.authorization, with commas between',
    parse: (given) =>
      parseList(String(given), (path) => path.split('.').every((name) => FIELD_NAME.test(name))),
  };
}

/** What stands between commas; undefined when one entry is not sound. Of nothing but spaces nothing. */
function parseList(text: string, isSound: (entry: string) => boolean): readonly string[] | undefined {
  if (text.trim() === '') return NONE;
  const entries = text.split(',').map((entry) => entry.trim());
  return entries.every(isSound) ? Object.freeze(entries) : undefined;
}

export function count(fallback: string, least: number, most: number): Key<number> {
  return {
    fallback,
    expected: `a whole number from ${least} to ${most}`,
    parse: (given) => {
      if (typeof given === 'string' && !/^\d{1,9}$/.test(given)) return undefined;
      return Number.isInteger(Number(given)) ? within(Number(given), least, most) : undefined;
    },
  };
}

function mode(fallback: string): Key<number> {
  return {
    fallback,
    expected: 'octal permission bits from 0600 to 0666 that let the owner read and write',
    parse: (given) => {
      if (typeof given === 'string' && !/^(0o?)?[0-7]{3}$/.test(given)) return undefined;
      const bits = typeof given === 'number' ? given : Number.parseInt(given.replace(/^0o?/, ''), 8);
      return Number.isInteger(bits) && (bits & ~0o066) === 0o600 ? bits : undefined;
    },
  };
}
