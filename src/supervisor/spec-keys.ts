/** The keys of a process: what is expected of each, and how it is read. What holds where one is not given, `spec.ts` says. */
import { DAY, LONGEST_TIMER, count, duration, failureActions, path, size, type Key } from '../config-keys.ts';
import { DAEMON_NAME } from '../daemon/name.ts';

/** How one key is read. */
export type Reader<Value> = Pick<Key<Value>, 'expected' | 'parse'>;

/** Beyond this a machine has other worries. */
export const MOST_INSTANCES = 512;
/** A type of worker, or a queue. */
const TYPE = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;
/** What these take as their default is not for here. */
const ELSEWHERE = '';

export const KEYS = {
  class: path(ELSEWHERE),
  daemon: word(DAEMON_NAME, 'the name of a daemon'),
  worker: word(TYPE, 'a type of worker'),
  exec: word(/^[^]*$/, 'a command'),
  instances: instances(),
  scaleBacklog: count(ELSEWHERE, 1, 1_000_000),
  scaleAge: duration(ELSEWHERE, 1, 365 * DAY, '1ms to 365d'),
  queue: word(TYPE, 'the name of a queue'),
  concurrency: count(ELSEWHERE, 1, 10_000),
  autostart: flag(),
  stopDeadline: duration(ELSEWHERE, 0, LONGEST_TIMER, '0 to 24d'),
  memoryLimit: size(ELSEWHERE, 1024 ** 2, 1024 ** 4, '1MiB to 1024GiB', 'no limit'),
  onFailure: failureActions(ELSEWHERE),
  restartDelay: duration(ELSEWHERE, 0, DAY, '0 to 1d'),
  restartDelayMax: duration(ELSEWHERE, 0, DAY, '0 to 1d'),
  restartReset: duration(ELSEWHERE, 1000, 365 * DAY, '1s to 365d'),
  restartLimit: count(ELSEWHERE, 0, 1000),
};

export type Keys = typeof KEYS;

/** What is given of them. */
export type Given = { [K in keyof Keys]?: Keys[K] extends Reader<infer Value> ? Value : never };

/** All but `name` and `params`. */
export const PROCESS_KEYS: readonly string[] = Object.keys(KEYS);

/** How many children. */
export interface Range {
  readonly least: number;
  readonly most: number;
}

function instances(): Reader<Range> {
  return {
    expected: `a whole number from 0 to ${MOST_INSTANCES}, or least and most, such as 1-8`,
    parse: (given) => {
      const [, first, second] = /^(\d{1,3})(?:\s*-\s*(\d{1,3}))?$/.exec(String(given)) ?? [];
      if (first === undefined) return undefined;
      const range = { least: Number(first), most: Number(second ?? first) };
      return range.least <= range.most && range.most <= MOST_INSTANCES ? range : undefined;
    },
  };
}

function word(pattern: RegExp, expected: string): Reader<string> {
  return {
    expected,
    parse: (given) => (typeof given === 'string' && pattern.test(given) ? given : undefined),
  };
}

function flag(): Reader<boolean> {
  return {
    expected: 'true or false',
    parse: (given) => (given === 'true' ? true : given === 'false' ? false : undefined),
  };
}
