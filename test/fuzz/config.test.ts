/** Arbitrary text as a configuration: it is read, or refused with a typed error of one line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ALL_KEYS, SECTIONS } from '../../src/config-keys.ts';
import { loadConfig } from '../../src/config.ts';
import { QueueError } from '../../src/errors.ts';
import { LIMIT, runs } from './runs.ts';
import { CONTROLS } from '../support/controls.ts';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'coda-fuzz-config-'))));
afterAll(() => rmSync(folder, { recursive: true }));

const key = fc.oneof(fc.constantFrom(...ALL_KEYS), fc.string());
const value = fc.oneof(
  fc.constantFrom(
    '1',
    '0',
    '-1',
    '10s',
    '50ms',
    '16MiB',
    '0600',
    'always',
    'cache',
    'INFO',
    './x',
    '/',
    'true',
    '1e99',
    '99999999999d',
  ),
  fc.string({ unit: 'binary' }),
  fc.integer().map(String),
);
const section = fc.oneof(fc.constantFrom(...Object.keys(SECTIONS)), fc.string());
const lines = fc.array(
  fc.oneof(
    section.map((name) => `[${name}]`),
    fc.tuple(key, value).map(([name, text]) => `${name} = ${text}`),
    fc.string(),
  ),
);
const file = fc.oneof(
  lines.map((some) => Buffer.from(some.join('\n'))),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
);

test('from a file', { timeout: LIMIT }, async () => {
  const path = join(folder, 'config.ini');
  await fc.assert(
    fc.asyncProperty(file, async (bytes) => {
      writeFileSync(path, bytes);
      await expectReadOrRefused({ config: path });
    }),
    runs(1000),
  );
});

test('from flags and the environment', { timeout: LIMIT }, async () => {
  const input = fc.record({
    flags: fc.dictionary(fc.constantFrom(...ALL_KEYS), fc.oneof(value, fc.double()), {
      maxKeys: 3,
    }),
    env: fc.dictionary(
      fc.constantFrom('CODA_CACHE_ROOT', 'CODA_DURABILITY', 'CODA_LEASE', 'CODA_CONFI'),
      value,
      { maxKeys: 3 },
    ),
  });
  await fc.assert(
    fc.asyncProperty(input, async (given) => expectReadOrRefused({ ...given, cwd: folder })),
    runs(500),
  );
});

async function expectReadOrRefused(input: Parameters<typeof loadConfig>[0]): Promise<void> {
  try {
    expect(Object.isFrozen(await loadConfig(input))).toBe(true);
  } catch (error) {
    expect(error).toBeInstanceOf(QueueError);
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    expect((error as QueueError).message).not.toMatch(CONTROLS);
  }
}
