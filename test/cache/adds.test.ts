import { describe, expect, test } from 'vitest';
import type { NewMessage } from '../../src/backend.ts';
import { groupAdds } from '../../src/cache/adds.ts';
import { Seeded } from '../support/seeded.ts';

const GROUP_BYTES = 256 * 1024;
const withPayloadOf = (length: number): NewMessage => ({
  json: 'x'.repeat(length),
  alias: '',
  retries: 0,
  disabled: false,
  username: '',
});
const sizeOf = ({ json }: NewMessage): number => json.length + 200;
const bytesOf = (messages: readonly NewMessage[]): number =>
  messages.reduce((sum, message) => sum + sizeOf(message), 0);

describe('the messages of one call', () => {
  test('are one submission when they are few, and are not copied', () => {
    const messages = [withPayloadOf(10), withPayloadOf(20)];
    expect(groupAdds(messages)).toEqual([messages]);
    expect(groupAdds(messages)[0]).toBe(messages);
  });

  test('are none when there are none', () => {
    expect(groupAdds([])).toEqual([]);
  });

  test('are cut where a submission is full, in order, and nothing is lost', () => {
    const seeded = new Seeded(1);
    for (let round = 0; round < 200; round++) {
      const [most, longest] = seeded.chance(0.5) ? [300, 5000] : [10, 2 * GROUP_BYTES];
      const messages = Array.from({ length: seeded.below(most) }, () => withPayloadOf(seeded.below(longest)));
      const groups = groupAdds(messages);
      expect(groups.flat()).toEqual(messages);
      for (const [i, group] of groups.entries()) {
        // The last one of a group may lead beyond the limit, and only the last group may stay below it.
        expect(bytesOf(group.slice(0, -1))).toBeLessThanOrEqual(GROUP_BYTES);
        if (i < groups.length - 1) expect(bytesOf(group)).toBeGreaterThan(GROUP_BYTES);
      }
    }
  });
});
