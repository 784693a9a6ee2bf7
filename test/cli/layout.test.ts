import { describe, expect, test } from 'vitest';
import { bar, fit, pad, widthOf } from '../../bin/layout.ts';
import { fromNow, lasting, stamp } from '../../bin/when.ts';
import { globbed } from '../../bin/queue/find.ts';

const MARKED = 'e\u0301';

describe('text in columns', () => {
  test.each([
    ['', 0],
    ['abc', 3],
    ['日本', 4],
    ['\u{1F4E8}', 2],
    [MARKED, 1],
    ['ﾃｽﾄ', 3],
    ['\u0301', 0],
  ])('%j is %d wide', (text, width) => {
    expect(widthOf(text)).toBe(width);
  });

  test('is cut with … where it does not fit, never within a character', () => {
    expect(fit('abcdef', 6)).toBe('abcdef');
    expect(fit('abcdefg', 6)).toBe('abcde…');
    expect(fit('日本語', 6)).toBe('日本語');
    expect(fit('日本語', 5)).toBe('日本…');
    expect(fit('日本語', 4)).toBe('日…');
    expect(fit(MARKED.repeat(3), 2)).toBe(`${MARKED}…`);
    expect(fit('abc', 1)).toBe('…');
    expect(fit('abc', 0)).toBe('');
  });

  test('of any length is cut in no time, and never comes out wider', () => {
    for (const text of ['\u0301'.repeat(5_000_000), 'é'.repeat(5_000_000), '日'.repeat(5_000_000)]) {
      expect(widthOf(fit(text, 40))).toBeLessThanOrEqual(40);
    }
  });

  test('is filled up to its column', () => {
    expect(pad('日本', 6)).toBe('日本  ');
    expect(pad('日本語', 4)).toBe('日… ');
  });

  test('a bar is as full as it should be, whatever it is told', () => {
    expect([0, 50, 100, -5, 400].map((percent) => bar(percent, 6))).toEqual([
      '[....]',
      '[##..]',
      '[####]',
      '[....]',
      '[####]',
    ]);
  });
});

describe('times', () => {
  test.each([
    [0, '0ms'],
    [999.6, '1s'],
    [59_999, '59s'],
    [200_000, '3m 20s'],
    [7_200_000, '2h'],
    [36 * 3_600_000, '1d 12h'],
    [400.5 * 86_400_000, '400d'],
  ])('%d ms are %s', (milliseconds, words) => {
    expect(lasting(milliseconds)).toBe(words);
  });

  test.each([
    [100, 'now'],
    [-700, '1s ago'],
    [-59_700, '1m ago'],
    [10_799_000, 'in 3h'],
    [-45 * 60_000, '45m ago'],
    [40 * 86_400_000, 'in 40d'],
  ])('%d ms from now is %s', (distance, words) => {
    expect(fromNow(new Date(1_000_000_000_000 + distance), 1_000_000_000_000)).toBe(words);
  });

  test('a stamp says the zone, and is the same moment when it is read', () => {
    const date = new Date('2026-07-01T12:34:56.000Z');
    expect(stamp(date)).toMatch(/^2026-0\d-\d\d \d\d:\d\d:56(Z|[+-]\d\d:\d\d)$/);
    expect(new Date(stamp(date).replace(' ', 'T'))).toEqual(date);
  });
});

test('a pattern of many stars takes no longer than the text is long', () => {
  const text = 'a'.repeat(1000);
  expect(globbed(`${'a*'.repeat(200)}b`)(text)).toBe(false);
  expect(globbed(`*${'a*'.repeat(200)}`)(text)).toBe(true);
  expect(globbed('ab*ba')('aba')).toBe(false);
  expect(globbed('**')('')).toBe(true);
});
