import { describe, expect, test } from 'vitest';
import { logEvent } from '../../src/log/worker-events.ts';
import type { Claim } from '../../src/message.ts';
import type { WorkerEvent } from '../../src/worker/events.ts';

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

describe('of what a worker tells', () => {
  const message = { uuid: 'u', alias: '', attempts: 2 } as Claim;
  const error = new Error('no mail');

  test.each<[WorkerEvent, string[]]>([
    [{ type: 'started', message }, []],
    [{ type: 'ended', message }, []],
    [
      { type: 'lost', message, why: 'cancelled' },
      ['INFO was cancelled or removed; what the handler makes of it is discarded'],
    ],
    [
      { type: 'lost', message, why: 'lapsed' },
      ['WARN its claim has ended; what the handler makes of it is discarded'],
    ],
    [
      { type: 'lost', message, why: 'unsettled' },
      ['WARN how it went could not be recorded; it comes back when its lease is over'],
    ],
    [{ type: 'hook', hook: 'failed', error, message }, ['ERROR failed() of the worker failed: no mail']],
    [{ type: 'hook', hook: 'stop', error }, ['ERROR stop() of the worker failed: no mail']],
  ])('%o becomes %o', (event, expected) => {
    const lines: string[] = [];
    logEvent((level, text) => void lines.push(`${level} ${text}`), 'jobs', event);
    expect(lines).toEqual(expected);
  });
});
