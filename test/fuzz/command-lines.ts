/** Arbitrary words as the command line of a real process, and what must come of it whatever they are. */
import * as fc from 'fast-check';
import { expect } from 'vitest';
import { EXIT } from '../../bin/exit-codes.ts';
import type { Ended, Started } from '../cli/commands.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

/** No argument of a process can hold a NUL; and what is taken for a path must stay in the folder of the test. */
const text = fc
  .string({ unit: 'grapheme' })
  .map((some) => some.replaceAll(/\0|\.\./g, '').replace(/^[/~]+/, ''));

const VALUES = ['jobs', 'job', '1', '0', '-1', '5s', '100ms', '{"n":2}', 'a=1', ''];
const STRANGE = [
  '\u001b[31m',
  '--\u001b[31m',
  '\u202e',
  '__proto__',
  'x'.repeat(5000),
  '-',
  '--',
  '-h',
  '-V',
  '--=',
  '--x=',
];

/** One word: an option, what may be a value of one, or anything. */
export function word(options: readonly string[], values: readonly string[] = []): fc.Arbitrary<string> {
  const value = fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(...VALUES, ...values) },
    text,
    fc.constantFrom(...STRANGE),
  );
  if (options.length === 0) return value;
  const option = fc.constantFrom(...options);
  return fc.oneof(
    { weight: 4, arbitrary: option },
    { weight: 5, arbitrary: value },
    fc.tuple(option, value).map(([name, some]) => `${name}=${some}`),
  );
}

const CODES: readonly (number | null)[] = Object.values(EXIT).filter((code) => code !== EXIT.internal);

/** What runs on by design is told to end after so long; ms. */
const ON = 1500;
/** What ends by itself, or has been told to, and has not ended after so long hangs: waits of ours last half a minute at most. */
const HANGS = 75_000;

export interface Manner {
  /** Whether these words have it run on until it is told to end. */
  runsOn: boolean;
  /** Codes beside those of `bin/exit-codes.ts`. */
  also?: readonly number[];
}

/**
 * It ends: by itself, or when it is told to if it runs on by design; with a code that is documented, without a stack, and
 * with nothing in what it says that a terminal would obey.
 */
export async function expectOrdinary(started: Started, { runsOn, also = [] }: Manner): Promise<Ended> {
  const { process: child, ended } = started;
  child.stdin.end();
  let hung = false;
  const told = runsOn ? setTimeout(() => child.kill('SIGTERM'), ON) : undefined;
  const hanging = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
  }, HANGS);
  const end = await ended;
  clearTimeout(told);
  clearTimeout(hanging);
  const { code, signal, stdout, stderr } = end;
  if (hung)
    expect.fail(`it has not ended ${runsOn ? 'though it was told to' : 'by itself'}: ${stdout}${stderr}`);
  // Told before it listens, or with nothing to tidy up, the system ends it.
  if (!(runsOn && signal === 'SIGTERM')) expect([...CODES, ...also]).toContain(code);
  expect(stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
  expect(stderr).not.toMatch(CONTROLS_IN_LINES);
  expect(stdout).not.toMatch(CONTROLS_IN_LINES);
  return end;
}
