/** Arbitrary words as the command line, in real processes: an exit code that is documented, and never a stack. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bench } from '../cli/commands.ts';
import { LIMIT, runs } from './runs.ts';

let bench: Bench;
beforeAll(async () => {
  bench = new Bench();
  await bench.json('create', 'jobs');
  await bench.json('add', 'jobs', '{"n":1}');
});
afterAll(() => bench.close());

const VERBS =
  'create add status list get find show wait update enable disable verify repair check retry cancel remove pause resume purge destroy attr completion help'.split(
    ' ',
  );
const OPTIONS =
  '--json --yes --all --alias --limit --state --data --ndjson --timeout --dry-run --discard --config --cache-root --durability --version --help --user --retries --at --in --interval -h -V -- -'.split(
    ' ',
  );
// No argument of a process can hold a NUL; and what is taken for a path must stay in the folder of the test.
const word = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      'jobs',
      'job',
      '1',
      '0',
      '-1',
      '5s',
      '{"n":2}',
      'a=1',
      '01a00000-0000-7000-8000-000000000001',
      '',
    ),
  },
  { weight: 3, arbitrary: fc.constantFrom(...OPTIONS) },
  fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll(/\0|^\/+|\.\./g, '')),
  fc.constantFrom('\u001b[31m', '\u202e', '__proto__', 'x'.repeat(5000)),
);
const argv = fc.tuple(
  fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...VERBS) }, word),
  fc.array(word, { maxLength: 5 }),
);

// oxlint-disable-next-line no-control-regex -- these are the characters it is for
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

test('of queue', { timeout: LIMIT }, async () => {
  await fc.assert(
    fc.asyncProperty(argv, async ([verb, rest]) => {
      const started = bench.start('queue', [verb, ...rest]);
      started.process.stdin.end();
      // What waits for messages waits for ever.
      const timer = setTimeout(() => started.process.kill('SIGTERM'), 5000);
      const { code, signal, stdout, stderr } = await started.ended;
      clearTimeout(timer);
      if (signal !== 'SIGTERM') expect([0, 1, 64, 69, 75, 78, 143]).toContain(code);
      expect(stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
      expect(stderr).not.toMatch(CONTROLS);
      expect(stdout).not.toMatch(CONTROLS);
    }),
    { ...runs(40), interruptAfterTimeLimit: LIMIT - 20_000, markInterruptAsFailure: false },
  );
});

test('of queue-worker', { timeout: LIMIT }, async () => {
  const OF_WORKER = '--queue --workers --drain --concurrency --lease --json --processes'.split(' ');
  const words = fc.array(fc.oneof(word, fc.constantFrom(...OF_WORKER)), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(words, async (some) => {
      const started = bench.start('queue-worker', some);
      started.process.stdin.end();
      const timer = setTimeout(() => started.process.kill('SIGTERM'), 3000);
      const { code, stderr } = await started.ended;
      clearTimeout(timer);
      expect([0, 1, 64, 69, 75, 78, 130, 143, null]).toContain(code);
      expect(stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
    }),
    { ...runs(12), interruptAfterTimeLimit: LIMIT - 20_000, markInterruptAsFailure: false },
  );
});
