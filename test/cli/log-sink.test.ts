import { expect, test } from 'vitest';
import { logEvent } from '../../bin/log-sink.ts';
import type { WorkerEvent } from '../../src/worker/pool.ts';

test.each([
  ['an object without a prototype', Object.create(null) as unknown],
  ['an error whose message is no text', Object.assign(new Error('x'), { message: Symbol('x') })],
  ['an object that cannot be made a text', { toString: () => Promise.reject(new Error('no')) }],
])('%s, thrown by a handler, becomes a line of the log', (_, error) => {
  const lines: string[] = [];
  const about = { uuid: 'u', alias: '', attempts: 1 };
  const event = {
    type: 'failed',
    message: about,
    milliseconds: 1,
    error,
    final: true,
  } as unknown as WorkerEvent;
  logEvent((_level, text) => void lines.push(text), 'jobs', event);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^failed for good: ./);
});
