/** Options that several verbs of `queue-daemon` have in common. */
import { Option } from 'commander';
import { LEVELS } from '../../src/config-keys.ts';
import { duration } from '../queue/time.ts';
import type { Options } from './daemons.ts';

export interface TimedOptions extends Options {
  /** Milliseconds. */
  timeout?: number;
}

const LONGEST = 86_400_000;

/** How long a daemon may take to come up, in ms, where nobody says otherwise. */
export const TO_COME_UP = 30_000;

/** To be spread into `.option()`. */
export const UP = [
  '--timeout <duration>',
  'how long it may take to come up before it is ended; default 30s',
  duration(LONGEST),
] as const;

export const STOP = [
  '--timeout <duration>',
  'how long it may take to end before it is killed; default [worker] stopDeadline and 5s',
  duration(LONGEST),
] as const;

export const RELOAD = [
  '--timeout <duration>',
  'how long to wait for its answer; default 30s',
  duration(LONGEST),
] as const;

/** Of what runs or starts a daemon. */
export function logLevel(): Option {
  return new Option('--log-level <name>', 'the least that is logged').choices(LEVELS);
}
