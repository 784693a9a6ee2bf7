import { expect, test } from 'vitest';
import { loadConfig } from '../src/config.ts';
import { parseQueueList } from '../src/queue-list.ts';

test('names queues, and how many messages are handled at once in how many processes', () => {
  expect(parseQueueList(' anpr, mails:10,invoices:4x2 , webhooks=http:20')).toEqual([
    { queue: 'anpr', type: 'anpr', concurrency: undefined, processes: 1 },
    { queue: 'mails', type: 'mails', concurrency: 10, processes: 1 },
    { queue: 'invoices', type: 'invoices', concurrency: 4, processes: 2 },
    { queue: 'webhooks', type: 'http', concurrency: 20, processes: 1 },
  ]);
  expect(parseQueueList('a-b.c_d')).toMatchObject([{ queue: 'a-b.c_d' }]);
});

test('an empty text is an empty list', () => {
  expect([parseQueueList(''), parseQueueList('  ')]).toEqual([[], []]);
});

test.each([
  'a,',
  ',a',
  'a,,b',
  'a b',
  'a,a',
  'a:1,a=b',
  'a:',
  'a:0',
  'a:-1',
  'a:1.5',
  'a:99999',
  'a:1x',
  'a:1x0',
  'a:x2',
  'a:1x513',
  'a=',
  '=a',
  'a=b=c',
  '.a',
  '../a',
  'a/b',
  'a'.repeat(65),
  'a\u0000',
])('%j is none', (text) => {
  expect(parseQueueList(text)).toBeUndefined();
});

test('what is no list is refused with what one looks like', async () => {
  await expect(loadConfig({ env: { CODA_QUEUES: 'mails:' }, cwd: '/nowhere' })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/CODA_QUEUES: expected queues with commas between.*received "mails:"$/),
  });
});
