import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { QueueError } from '../../src/errors.ts';
import { runCrew } from '../../src/worker/crew/crew.ts';
import { WorkerDied } from '../../src/worker/crew/evidence.ts';
import { Hand } from '../../src/worker/crew/hand.ts';
import { fromRefusal, toRefusal, type Held } from '../../src/worker/crew/protocol.ts';
import { Stderr } from '../../src/worker/crew/stderr.ts';

function held(token: string): Held {
  return { uuid: `u-${token}`, alias: '', token, attempts: 1, retries: 0 };
}

describe('what a member has in hand', () => {
  function full(): Hand {
    const hand = new Hand();
    hand.heed({ claimed: ['a', 'b', 'c'].map(held) }, 0);
    hand.heed({ started: 'a' }, 10);
    hand.heed({ started: 'b' }, 20);
    return hand;
  }

  test('is overdue by the time its handler was called; what was never begun is not', () => {
    const hand = full();
    expect(hand.oldest).toBe(10);
    expect(hand.drop(10)).toEqual({ overdue: [held('a')], others: [held('b'), held('c')] });
    expect(hand.drop(100)).toEqual({ overdue: [], others: [] });
    expect(hand.oldest).toBe(Infinity);
  });

  test('is no longer owed once it is settled, but can be overdue until its handler has ended', () => {
    const hand = full();
    hand.heed({ ended: ['a'], settled: ['a', 'b', 'c'] }, 30);
    expect(hand.oldest).toBe(20);
    expect(hand.drop(25)).toEqual({ overdue: [held('b')], others: [] });
  });

  test('is still owed when its handler has ended and the settle is not answered, and then not overdue', () => {
    const hand = full();
    hand.heed({ ended: ['a'] }, 30);
    expect(hand.drop(15)).toEqual({ overdue: [], others: [held('a'), held('b'), held('c')] });
  });
});

describe('the stderr of a member', () => {
  test('is handed on in whole lines, a last one without an end too, and its end is kept', async () => {
    const stream = new PassThrough();
    const lines: string[] = [];
    const stderr = new Stderr(stream, (line) => lines.push(line));
    for (const text of ['one\ntw', 'o\n', '\nü'.repeat(1500), ' end']) stream.write(text);
    stream.end();
    await once(stream, 'end');
    stderr.flush();
    stderr.flush();
    expect(lines.slice(0, 4)).toEqual(['one', 'two', '', 'ü']);
    expect(lines.at(-1)).toBe('ü end');
    expect(lines).toHaveLength(1503);
    expect(stderr.end).toHaveLength(2048);
    expect(stderr.end.endsWith('ü end')).toBe(true);
  });

  test('without line breaks is handed on all the same', async () => {
    const stream = new PassThrough();
    const lines: string[] = [];
    const stderr = new Stderr(stream, (line) => lines.push(line));
    for (let i = 0; i < 5; i++) stream.write('x'.repeat(50_000));
    stream.end();
    await once(stream, 'end');
    stderr.flush();
    expect(lines.join('')).toHaveLength(250_000);
    expect(lines.length).toBeGreaterThan(1);
  });
});

test('evidence of a death keeps the end of what was said, within what a message keeps of an error', () => {
  const { message, summary, code } = new WorkerDied(
    7,
    { code: null, signal: 'SIGSEGV' },
    { memory: 81e6, stderr: `${'x'.repeat(5000)} end\n` },
  );
  expect(summary).toBe('process 7 was ended by SIGSEGV, having 81 MB of memory when last seen');
  expect(message.startsWith(`${summary}; the end of its stderr:\nxxx`)).toBe(true);
  expect(message.endsWith('x end')).toBe(true);
  expect(message).toHaveLength(2000);
  expect(code).toBe('SIGSEGV');
  expect(new WorkerDied(7, { code: 3, signal: null }, { why: 'fun', stderr: ' \n' }).message).toBe(
    'process 7 ended with exit code 3, for fun',
  );
});

test('what a member refuses with arrives as the error it was', () => {
  const over = (error: unknown): Error => fromRefusal(JSON.parse(JSON.stringify(toRefusal(error))) as never);
  const refused = over(new QueueError('CONFIG_INVALID', 'no', { path: '/x' }));
  expect(refused).toBeInstanceOf(QueueError);
  expect(refused).toMatchObject({ code: 'CONFIG_INVALID', message: 'no', path: '/x' });
  const defect = new TypeError('oh');
  expect(over(defect)).toMatchObject({ message: 'oh', stack: defect.stack });
  expect(over('text')).toMatchObject({ message: 'text' });
});

test('a crew that cannot start a process says why', async () => {
  const never = new AbortController().signal;
  const unused = (): never => {
    throw new Error('not to be called');
  };
  const crew = runCrew({
    command: { file: '/nonexistent/node', args: [], env: {} },
    queues: { failMessage: unused, releaseMessage: unused, reportDeath: unused },
    settings: {},
    queue: 'jobs',
    processes: 2,
    stopDeadline: 10,
    backoff: { backoff: 1, backoffMax: 1 },
    stop: never,
    force: never,
    kill: never,
    onEvent: unused,
    onStderr: unused,
  });
  await expect(crew).rejects.toMatchObject({
    code: 'WORKER_FAILED',
    message: expect.stringContaining('ENOENT'),
  });
});

test('members that Ctrl-C ends before they have begun are no failure to begin', async () => {
  const never = new AbortController().signal;
  const stop = new AbortController();
  const unused = (): never => {
    throw new Error('not to be called');
  };
  let deaths = 0;
  const code = "process.kill(process.pid, 'SIGINT'); setInterval(() => {}, 1000)";
  const report = await runCrew({
    command: { file: process.execPath, args: ['-e', code], env: {} },
    queues: { failMessage: unused, releaseMessage: unused, reportDeath: unused },
    settings: {},
    queue: 'jobs',
    processes: 1,
    stopDeadline: 10,
    backoff: { backoff: 1, backoffMax: 1 },
    stop: stop.signal,
    force: never,
    kill: never,
    // The parent hears of it last.
    onEvent: ({ type }) => {
      if (type === 'died' && ++deaths === 2) stop.abort();
    },
    onStderr: () => undefined,
  });
  expect(report).toMatchObject({ ended: 'stopped', died: 2 });
});
