import { expect, test } from 'vitest';
import { position } from '../../src/cache/position.ts';
import { makeToken, parseToken } from '../../src/cache/token.ts';
import { Seeded } from '../support/seeded.ts';

/** What a token is, in other words. */
const TOKEN = /^([0-9a-f]{16}\.[0-9a-z]{1,13})@(\d{1,7})\.(\d{1,10})\/([0-9a-f]{12})$/;

function parsedByPattern(token: string, uuid: string): unknown {
  const match = TOKEN.exec(token);
  if (!match || !uuid.endsWith(match[4]!)) return undefined;
  return { claim: match[1], at: position(Number(match[2]), Number(match[3])) };
}

const UUID = '01931f5e-7c00-7abc-8def-0123456789ab';
const WHOLE = '0123456789abcdef.1z@12.34567/0123456789ab';

test('a token names its claim and its message', () => {
  const at = position(1234, 567_890);
  const token = makeToken('0123456789abcdef.1z', at, UUID);
  expect(token).toBe('0123456789abcdef.1z@1234.567890/0123456789ab');
  expect(parseToken({ token, uuid: UUID, alias: '' })).toEqual({ claim: '0123456789abcdef.1z', at });
});

test('a token is for one message only', () => {
  expect(parseToken({ token: WHOLE, uuid: UUID, alias: '' })).toBeDefined();
  expect(parseToken({ token: WHOLE, uuid: UUID.replace(/b$/, 'c'), alias: '' })).toBeUndefined();
});

test('nothing follows the end of the uuid', () => {
  expect(parseToken({ token: `${WHOLE}zz`, uuid: `${UUID}zz`, alias: '' })).toBeUndefined();
});

test.each([
  '',
  '@1.2/0123456789ab',
  '0123456789abcde.1z@12.34567/0123456789ab',
  '0123456789abcdef0.1z@12.34567/0123456789ab',
  '0123456789ABCDEF.1z@12.34567/0123456789ab',
  '0123456789abcdef.@12.34567/0123456789ab',
  '0123456789abcdef.12345678901234@12.34567/0123456789ab',
  '0123456789abcdef.1z@.34567/0123456789ab',
  '0123456789abcdef.1z@12345678.34567/0123456789ab',
  '0123456789abcdef.1z@12./0123456789ab',
  '0123456789abcdef.1z@12.12345678901/0123456789ab',
  '0123456789abcdef.1z@12.34567/0123456789abc',
  '0123456789abcdef.1z@12.34567/123456789ab',
  '0123456789abcdef.1z@12.34567/0123456789ab\n',
  '0123456789abcdef.1"@12.34567/0123456789ab',
  '0123456789abcdef.1z@-2.34567/0123456789ab',
  '0123456789abcdef.1z@12.34567',
])('%j is no token', (token) => {
  expect(parseToken({ token, uuid: UUID, alias: '' })).toBeUndefined();
});

test('whatever is made of a token is read as its pattern says', () => {
  const random = new Seeded(7);
  const letters = '0189afgzAFZ.@/"\\\n -é١';
  let sound = 0;
  for (let i = 0; i < 20_000; i++) {
    let token = WHOLE;
    for (let changes = random.below(3); changes > 0; changes--) {
      const at = random.below(token.length + 1);
      const letter = letters[random.below(letters.length)]!;
      const kept = random.below(2);
      token = token.slice(0, at) + (random.below(3) === 0 ? '' : letter) + token.slice(at + kept);
    }
    const parsed = parseToken({ token, uuid: UUID, alias: '' });
    expect(parsed).toEqual(parsedByPattern(token, UUID));
    if (parsed && token !== WHOLE) sound++;
  }
  expect(sound).toBeGreaterThan(100);
});
