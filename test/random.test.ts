import fs from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { fillRandom, randomHex } from '../src/random.ts';

afterEach(() => void vi.restoreAllMocks());

test('random digits are as many as was asked for, and never the same twice', () => {
  const seen = new Set<string>();
  for (let i = 0; i < 20_000; i++) {
    const digits = randomHex(8);
    expect(digits).toMatch(/^[0-9a-f]{16}$/);
    seen.add(digits);
  }
  expect(seen.size).toBe(20_000);
  expect(randomHex(4096)).toMatch(/^[0-9a-f]{8192}$/);
  expect(randomHex(0)).toBe('');
});

test('every bit of what is filled may be either, the last ones too', () => {
  let ones = 0;
  const bytes = new Uint8Array(64 * 1024);
  fillRandom(bytes);
  for (const byte of bytes) for (let bit = 0; bit < 8; bit++) ones += (byte >> bit) & 1;
  // Eight standard deviations to either side.
  expect(Math.abs(ones - bytes.length * 4)).toBeLessThan(8 * Math.sqrt(bytes.length * 2));
  expect(bytes.subarray(-64).some((byte) => byte !== 0)).toBe(true);
});

test.skipIf(process.platform === 'win32').each([
  ['there is none', '/dev/there-is-no-such-device'],
  ['it is a file', 'package-lock.json'],
  ['it ends', '/dev/null'],
])('the device of random bytes is not relied on: %s', (_, path) => {
  const open = fs.openSync.bind(fs);
  vi.spyOn(fs, 'openSync').mockImplementation((name, ...rest) =>
    open(name === '/dev/urandom' ? path : name, ...rest),
  );
  const bytes = new Uint8Array(4096);
  fillRandom(bytes);
  expect(new Set(bytes).size).toBeGreaterThan(200);
});
