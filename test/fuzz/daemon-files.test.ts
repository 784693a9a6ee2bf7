/** Arbitrary bytes as the files of a daemon: who looks at it, takes its place or stops it gets an answer or a typed error. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { toJson } from '../../bin/queue-daemon/daemons.ts';
import { loadConfig, type Config } from '../../src/config.ts';
import { reloadDaemon, stopDaemon } from '../../src/daemon/control.ts';
import { keepState } from '../../src/daemon/keeper.ts';
import { readHolder, takePlace } from '../../src/daemon/place.ts';
import { readState, type DaemonState } from '../../src/daemon/state.ts';
import { isUp, judge, knownNames } from '../../src/daemon/verify.ts';
import { nodeProcesses } from '../../src/process-table.ts';
import { expectTypedError } from '../support/examine.ts';
import { LIMIT, runs } from './runs.ts';
import { CONTROLS } from '../support/controls.ts';

const NAME = 'mails';
const TOKENS = ['a', 'b', 'c'].map((letter) => letter.repeat(16));
const TIME = '2026-01-01T00:00:00.000Z';
const { boot, pidNamespace, timeNamespace } = nodeProcesses.self();

/** Processes that are not there, or not here: whoever stops one of them must find nobody to send a signal to. */
const identity = fc.record({
  start: fc.constantFrom('1', '', 'x'),
  boot: fc.constantFrom(boot, boot, 'another', ''),
  pidNamespace: fc.constantFrom(pidNamespace, pidNamespace, 'pid:[1]', ''),
  timeNamespace: fc.constantFrom(timeNamespace, ''),
});
const pid = fc.oneof(
  fc.constantFrom(process.pid, 1, 4_194_305, 2_147_483_648, 4_294_967_297, 9_999_999_999),
  fc.integer({ min: 1 }),
);
const token = fc.constantFrom(...TOKENS);

const anything = fc.oneof(
  fc.jsonValue(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom<unknown>(
    null,
    '',
    -1,
    1e300,
    TIME,
    '+275760-09-13T00:00:00.000Z',
    '-000001-01-01',
    'x'.repeat(2000),
  ),
);
const json = anything.map((value) => JSON.stringify(value));

const STATE: DaemonState = {
  version: 1,
  name: NAME,
  pid: 1,
  process: { start: '1', boot, pidNamespace, timeNamespace },
  token: TOKENS[0]!,
  phase: 'working',
  startedAt: TIME,
  upAt: TIME,
  sessions: 3,
  failuresInRow: 1,
  betweenSessions: { last: 1, mean: 1, longest: 1 },
  sessionLengths: null,
  lastIterationAt: TIME,
  lastSuccessAt: null,
  lastError: { at: TIME, name: 'Error', message: 'no' },
  troubles: ['slow'],
  crashes: 1,
  lastCrashAt: TIME,
  sleepUntil: null,
  health: { at: TIME, sound: true, reason: '' },
  reloads: { count: 0, at: null, error: null },
  due: { at: TIME, monotonic: 1 },
  background: true,
  service: null,
  end: null,
  memory: 1,
  updatedAt: TIME,
};

/** A state as it should be, or nearly. */
const state = fc
  .record({
    pid,
    process: identity,
    token,
    phase: fc.constantFrom('starting', 'working', 'sleeping', 'reloading', 'stopping', 'ended'),
    end: fc.constantFrom(
      null,
      null,
      { at: TIME, why: 'crash', error: null },
      { at: TIME, why: 'told', error: null },
      { at: TIME, why: 'error', error: { at: TIME, name: '', message: '\u001b[31m' } },
    ),
    wrong: fc.dictionary(fc.constantFrom(...Object.keys(STATE)), anything, { maxKeys: 2 }),
  })
  .map(({ wrong, ...right }) => JSON.stringify({ ...STATE, ...right, ...wrong }));

const pidFile = fc
  .tuple(pid, token, identity)
  .map(([n, some, who]) => `${n}\n${JSON.stringify({ token: some, ...who })}\n`);

/** As it is, or cut off, or with a byte that is another: bytes, as text in Latin-1, so that a failure can be read. */
function nearly(whole: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const bytes = whole.map((text) => Buffer.from(text));
  const some = fc.oneof(
    { weight: 6, arbitrary: bytes },
    fc.tuple(bytes, fc.nat({ max: 900 })).map(([some, to]) => some.subarray(0, to)),
    fc.tuple(bytes, fc.nat(), fc.nat({ max: 255 })).map(([some, at, byte]) => {
      const other = Buffer.from(some);
      if (other.length > 0) other[at % other.length] = byte;
      return other;
    }),
    fc.uint8Array({ maxLength: 200 }).map((other) => Buffer.from(other)),
  );
  return some.map((each) => each.toString('latin1'));
}

const sound = fc.oneof({ weight: 4, arbitrary: pidFile }, json);
const files = fc.record(
  {
    [`${NAME}.pid`]: nearly(sound),
    [`${NAME}.state.json`]: nearly(fc.oneof({ weight: 6, arbitrary: state }, json)),
    [`${NAME}.stopped`]: nearly(json),
    ...Object.fromEntries(TOKENS.map((each) => [`.${NAME}.after-${each}`, nearly(sound)])),
    [`.${NAME}.pid-${TOKENS[0]}`]: nearly(sound),
    [`.${NAME}.state`]: nearly(json),
    [`.${TOKENS[1]}.sock`]: nearly(json),
  },
  { requiredKeys: [] },
);

const CODES = ['STORAGE_FAILED', 'DAEMON_RUNNING', 'DAEMON_FAILED'];

async function typed<T>(doing: () => Promise<T> | T): Promise<T | undefined> {
  try {
    return await doing();
  } catch (error) {
    const { code, message } = expectTypedError(error);
    expect(CODES).toContain(code);
    // No terminal is to obey what stands in a file.
    expect(message).not.toMatch(CONTROLS);
    return undefined;
  }
}

/** Everything that is asked of a daemon from outside, and what its next process does first. */
async function use(stateDir: string, config: Config): Promise<void> {
  const path = join(stateDir, `${NAME}.state.json`);
  const before = await typed(() => readState(path));
  if (before) expect(Object.keys(before)).toEqual(expect.arrayContaining(Object.keys(STATE)));
  await typed(() => readHolder(join(stateDir, `${NAME}.pid`)));
  expect([[], [NAME]]).toContainEqual(knownNames(stateDir));
  const judgement = await typed(() => judge(stateDir, NAME));
  if (judgement) {
    JSON.stringify(toJson(config, judgement));
    const who = judgement.holder?.who;
    // None of them lives. Of those of another container no more can be known; nor without a start of those whose number has
    // gone to another process.
    if (who?.boot === boot && who.pidNamespace === pidNamespace && who.start !== '')
      expect(isUp(judgement)).toBe(false);
  }
  await typed(() => reloadDaemon(stateDir, NAME, 1));
  await typed(() => stopDaemon(stateDir, NAME, { timeout: 1, lasting: true }));
  const place = await typed(() => takePlace(stateDir, NAME));
  if (!place) return;
  const troubles: unknown[] = [];
  const keeper = keepState(place, {
    limit: 1000,
    background: false,
    clean: (text) => text,
    onTrouble: (error) => troubles.push(error),
  });
  keeper.started();
  keeper.ended('told');
  await place.release();
  for (const trouble of troubles) await typed(() => Promise.reject(trouble as Error));
  const after = await judge(stateDir, NAME);
  expect(after).toMatchObject({
    standing: 'stopped',
    holder: undefined,
    state: { token: place.holder.token },
  });
}

test('whatever they hold', { timeout: LIMIT }, async () => {
  const config = await loadConfig({ env: {} });
  await fc.assert(
    fc.asyncProperty(files, async (contents) => {
      const stateDir = mkdtempSync(join(tmpdir(), 'coda-fuzz-daemon-'));
      try {
        for (const [name, some] of Object.entries(contents))
          writeFileSync(join(stateDir, name), some, 'latin1');
        await use(stateDir, config);
      } finally {
        rmSync(stateDir, { recursive: true });
      }
    }),
    runs(200),
  );
});
