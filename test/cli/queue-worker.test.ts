import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench, parsedLines, type Ended } from './commands.ts';

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
  mkdirSync(join(bench.folder, 'workers'));
});
afterEach(() => bench.close());

/** A worker that appends what it processes to ./seen.ndjson. */
const RECORDER = `
  import { appendFileSync } from 'node:fs';
  import { Worker, type Message, type WorkerContext } from 'coda-queue';
  export default class Recorder extends Worker {
    override process({ alias, data }: Message, { attempt }: WorkerContext): void {
      appendFileSync('seen.ndjson', JSON.stringify({ alias, data, attempt }) + '\\n');
    }
  }`;

function worker(type: string, body: string): void {
  bench.file(
    join('workers', `${type}.mjs`),
    `import { FinalError, RetryAt, Worker } from 'coda-queue';\n${body}`,
  );
}

async function add(queue: string, lines: readonly object[]): Promise<void> {
  const text = lines.map((line) => JSON.stringify(line)).join('\n');
  const { code, stderr } = await bench.run('queue', ['add', queue, '--create', '--ndjson', '-'], text);
  if (code !== 0) throw new Error(stderr);
}

function drain(type: string, ...args: string[]): Promise<Ended> {
  return bench.run('queue-worker', [type, '--drain', '--json', ...args]);
}

function report({ stdout, stderr }: Ended): unknown {
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

describe('queue-worker --drain', () => {
  test('hands every message to a TypeScript worker once, in order, equal to what went in', async () => {
    bench.file(join('workers', 'record.ts'), RECORDER);
    const lines = Array.from({ length: 50 }, (_, index) => ({
      alias: `event/${index}`,
      data: { index, text: '\u{1F4E8}\u0000"\\ü'.repeat(index * 20), __proto__: null },
    }));
    await add('record', lines);
    const ended = await drain('record');
    expect(ended.code).toBe(0);
    expect(report(ended)).toEqual({
      type: 'record',
      queue: 'record',
      ended: 'drained',
      completed: 50,
      retried: 0,
      failed: 0,
      released: 0,
      lost: 0,
      cancelled: 0,
      left: { ready: 0, deferred: 0, disabled: 0, failed: 0 },
    });
    const seen = parsedLines(readFileSync(join(bench.folder, 'seen.ndjson'), 'utf8'));
    expect(seen).toEqual(
      lines.map((line) => ({ ...(JSON.parse(JSON.stringify(line)) as object), attempt: 1 })),
    );
  });

  test('works on another queue and out of another folder when told so, and makes its queue', async () => {
    mkdirSync(join(bench.folder, 'jobs'));
    bench.file(join('jobs', 'noop.js'), 'export default class { process() {} }');
    const ended = await drain('noop', '--workers', 'jobs', '--queue', 'fresh', '--concurrency', '5');
    expect(report(ended)).toMatchObject({ type: 'noop', queue: 'fresh', completed: 0 });
    expect(await bench.json('list')).toMatchObject([{ queue: 'fresh' }]);
  });

  test('tries again what failed, and reports what stays deferred or failed', async () => {
    worker(
      'moody',
      `export default class extends Worker {
        process({ data }, { attempt }) {
          if (data === 'once' && attempt === 1) throw new RetryAt(new Date());
          if (data === 'never') throw new FinalError('no such account');
          if (data === 'tomorrow') throw new RetryAt(new Date(Date.now() + 86_400_000));
        }
      }`,
    );
    await add(
      'moody',
      ['fine', 'once', 'never', 'tomorrow'].map((data) => ({ data, retries: 3 })),
    );
    const ended = await drain('moody');
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({
      completed: 2,
      retried: 2,
      failed: 1,
      left: { deferred: 1, failed: 1 },
    });
    expect(ended.stderr).toContain('failed for good: no such account');
  });

  test('ends with its own exit code when the queue is paused', async () => {
    worker('any', 'export default class extends Worker { process() {} }');
    await add('any', [{ data: 1 }]);
    const { QueueManager } = await import('../../src/queue-manager.ts');
    const manager = await QueueManager.open({ cacheRoot: join(bench.folder, 'queues') });
    await manager.pauseQueue('any');
    await manager.close();
    const ended = await drain('any');
    expect(ended.code).toBe(75);
    expect(report(ended)).toMatchObject({ ended: 'paused', left: { ready: 1 } });
  });

  test('logs JSON where nobody looks, and lines for people when told so', async () => {
    worker(
      'talk',
      "export default class extends Worker { process(m, { log }) { log.info('hi \\u001b[31m', { n: 1 }); } }",
    );
    await add('talk', [
      { alias: 'A', data: 1 },
      { alias: 'A', data: 2 },
    ]);
    const args = ['talk', '--drain'];
    const { stdout, stderr } = await bench.run('queue-worker', args, '', { CODA_FORMAT: 'pretty' });
    expect(stdout).toBe('talk: drained; 2 messages completed\n');
    expect(stderr).toMatch(/^\d\d:\d\d:\d\d {2}INFO {3}hi \\u001b\[31m {2}A {2}n=1$/m);
    await add('talk', [{ alias: 'A', data: 1 }]);
    const lines = parsedLines((await bench.run('queue-worker', args)).stderr);
    expect(lines).toContainEqual({
      time: expect.any(String) as string,
      level: 'INFO',
      text: 'hi \u001b[31m',
      queue: 'talk',
      uuid: expect.any(String) as string,
      alias: 'A',
      attempt: 1,
      n: 1,
    });
  });
});

describe('queue-worker and signals', () => {
  /** Says that it has begun, and ends when ./go exists or when it is aborted. */
  const SLOW = `
    import { existsSync, watch } from 'node:fs';
    export default class extends Worker {
      process(message, { log, signal }) {
        return new Promise((resolve, reject) => {
          const watcher = watch('.', () => existsSync('go') && (watcher.close(), resolve()));
          signal.addEventListener('abort', () => (watcher.close(), reject(signal.reason)));
          log.info('begun');
        });
      }
    }`;

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    '%s lets the handler end, then exits 0',
    async (signal) => {
      worker('slow', SLOW);
      await add('slow', [{ data: 1 }, { data: 2 }]);
      const started = bench.start('queue-worker', ['slow', '--json']);
      await started.said('begun');
      started.process.kill(signal);
      await started.said('stopping');
      bench.file('go', '');
      const ended = await started.ended;
      expect(ended.code).toBe(0);
      expect(report(ended)).toMatchObject({ ended: 'stopped', completed: 1, left: { ready: 1 } });
    },
  );

  test('after the deadline the handler is aborted and its message goes back, and it exits 0 all the same', async () => {
    worker('slow', SLOW);
    bench.file('config.ini', '[worker]\nstopDeadline = 10ms\n');
    await add('slow', [{ data: 1 }]);
    const started = bench.start('queue-worker', ['slow', '--json']);
    await started.said('begun');
    started.process.kill('SIGTERM');
    const ended = await started.ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ released: 1, left: { ready: 1 } });
    expect(await bench.json('get', 'slow')).toMatchObject({ attempts: 0, crashes: 0 });
  });

  test('a second signal does that at once and exits 1, although the handler goes on', async () => {
    worker(
      'deaf',
      "export default class extends Worker { process(m, { log }) { log.info('begun'); setInterval(() => {}, 1000); return new Promise(() => {}); } }",
    );
    await add('deaf', [{ data: 1 }]);
    const started = bench.start('queue-worker', ['deaf', '--json']);
    await started.said('begun');
    started.process.kill('SIGTERM');
    await started.said('stopping');
    started.process.kill('SIGTERM');
    const ended = await started.ended;
    expect(ended.code).toBe(1);
    expect(report(ended)).toMatchObject({ released: 1, left: { ready: 1 } });
  });

  test('SIGHUP once more forces nothing: shell and system may both tell that a terminal was closed', async () => {
    const hearing = "process.on('SIGHUP', () => log.info('heard'));";
    worker('slow', SLOW.replace("log.info('begun');", `${hearing} $&`));
    await add('slow', [{ data: 1 }]);
    const started = bench.start('queue-worker', ['slow', '--json']);
    await started.said('begun');
    started.process.kill('SIGHUP');
    await started.said('heard');
    started.process.kill('SIGHUP');
    await started.said(/heard[^]*heard/);
    bench.file('go', '');
    const ended = await started.ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ completed: 1, released: 0 });
  });

  test('an idle worker stops at once', async () => {
    worker('idle', "export default class extends Worker { process(m, { log }) { log.info('done') } }");
    const started = bench.start('queue-worker', ['idle']);
    await started.said('working on idle');
    await bench.queue('add', 'idle', '1', '--create');
    await started.said('done');
    started.process.kill('SIGTERM');
    expect((await started.ended).code).toBe(0);
  });

  test('of a killed worker the message is back in line soon, and delivered once more', async () => {
    worker('slow', SLOW);
    await add('slow', [{ alias: 'first', data: 1 }]);
    const started = bench.start('queue-worker', ['slow']);
    await started.said('begun');
    started.process.kill('SIGKILL');
    await started.ended;
    bench.file(join('workers', 'record.ts'), RECORDER);
    const begun = Date.now();
    expect(report(await drain('record', '--queue', 'slow'))).toMatchObject({ completed: 1 });
    // The lease lasts 30 s; the death is noticed long before.
    expect(Date.now() - begun).toBeLessThan(15_000);
    expect(parsedLines(readFileSync(join(bench.folder, 'seen.ndjson'), 'utf8'))).toEqual([
      { alias: 'first', data: 1, attempt: 1 },
    ]);
  });
});

describe('a worker that ends its process', () => {
  test('has not ended the work: whoever waits for it gets no exit code 0', async () => {
    worker('leaver', 'export default class extends Worker { process() { process.exit(); } }');
    await add('leaver', [{ data: 1 }]);
    const ended = await drain('leaver');
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain('process.exit()');
  });

  test('with an exit code of its own is told no other', async () => {
    worker('leaver', 'export default class extends Worker { process() { process.exit(7); } }');
    await add('leaver', [{ data: 1 }]);
    expect((await drain('leaver')).code).toBe(7);
  });
});

test('a worker whose start waits for what never comes stays until it is told to end', async () => {
  worker(
    'waiter',
    `export default class extends Worker {
      start({ log }) {
        setTimeout(() => log.info('still there'), 50).unref();
        return new Promise(() => {});
      }
      process() {}
    }`,
  );
  const started = bench.start('queue-worker', ['waiter']);
  await started.said('still there');
  started.process.kill('SIGTERM');
  await started.said('stopping');
  started.process.kill('SIGTERM');
  expect((await started.ended).code).toBe(1);
});

test('a worker stopped past its lease and continued cannot settle what another has been given', async () => {
  const waiting = `
    import { existsSync } from 'node:fs';
    export default class extends Worker {
      process(message, { log }) {
        log.info('begun');
        return new Promise((resolve) => {
          const timer = setInterval(() => existsSync('go') && (clearInterval(timer), resolve()), 10);
        });
      }
    }`;
  worker('slow', waiting);
  bench.file(join('workers', 'record.ts'), RECORDER);
  bench.file('config.ini', '[worker]\nlease = 300ms\n');
  await add('slow', [{ alias: 'first', data: 1 }]);
  const started = bench.start('queue-worker', ['slow', '--drain', '--json']);
  await started.said('begun');
  started.process.kill('SIGSTOP');
  expect(report(await drain('record', '--queue', 'slow'))).toMatchObject({ completed: 1, lost: 0 });
  started.process.kill('SIGCONT');
  await started.said('its claim has ended');
  bench.file('go', '');
  expect(report(await started.ended)).toMatchObject({ completed: 0, lost: 1 });
  expect(await bench.json('status', 'slow')).toMatchObject({ processed: 1, messagesToProcess: 0 });
});

describe('queue-worker is refused', () => {
  test.each([
    [['nosuch'], 64, 'no worker of type "nosuch"'],
    [['../x'], 64, 'expected a worker type'],
    [[], 64, "missing required argument 'type'"],
    [['anpr', '--concurrency', '0'], 64, 'whole number'],
    [['anpr', '--concurrency', '20000'], 64, 'from 1 to 10000'],
    [['anpr', '--lease', '30'], 64, 'Expected a duration'],
    [['anpr', '--queue', '.x'], 64, 'INVALID_QUEUE_NAME'],
    [['anpr', '--durability', 'never'], 64, 'Allowed choices are always, interval, os'],
    [['anpr', '--config', 'absent.ini'], 78, 'ENOENT'],
  ])('%j', async (args, expected, said) => {
    const { code, stdout, stderr } = await bench.run('queue-worker', args);
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toContain(said);
  });
});
