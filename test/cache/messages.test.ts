import { expect, test } from 'vitest';
import { Messages } from '../../src/cache/messages.ts';

test('of two messages that a hole has given the same alias, the other holds it when one has ended', () => {
  const messages = new Messages(1);
  messages.options = { uniqueAlias: true };
  const extent = (offset: number) => ({ offset, length: 100, headerLength: 50 });
  const [first, second] = [100, 300].map((offset) =>
    messages.insert(extent(offset), undefined, false, 'same'),
  );
  expect(messages.holderOf('same')).toBe(first);
  messages.happen(first!, { type: 'remove' });
  expect(messages.holderOf('same')).toBe(second);
  messages.happen(second!, { type: 'remove' });
  expect(messages.holderOf('same')).toBeUndefined();
});
