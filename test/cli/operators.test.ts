/** What people do to a queue that is in use: retry, remove, cancel, pause, resume, purge, destroy, attr. */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { QueueStatus } from '../../src/backend.ts';
import { QueueManager } from '../../src/queue-manager.ts';
import { Bench, parsedLines, type Ended } from './commands.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

let bench: Bench;
/** What is no verb of these is done by the library: a command takes a hundred times as long. */
let manager: QueueManager;

beforeEach(async () => {
  bench = new Bench();
  manager = await QueueManager.open({ cacheRoot: join(bench.folder, 'queues') });
  await manager.createQueue('mails');
});
afterEach(async () => {
  await manager.close();
  await bench.close();
});

/** Adds a message for each alias; their uuids. */
async function add(...aliases: string[]): Promise<string[]> {
  const added = await manager.addMessages(
    'mails',
    aliases.map((alias) => ({ alias, data: 1 })),
  );
  return added.map(({ uuid }) => uuid);
}

async function counts(): Promise<QueueStatus['counts']> {
  return (await manager.queueStatus('mails')).counts;
}

function expectRefused({ code, stdout, stderr }: Ended, expected: number, said: string): void {
  expect([code, stdout]).toEqual([expected, '']);
  expect(stderr).toContain(said);
}

describe('verbs with several targets', () => {
  test('take uuids in any case and aliases, each message once', async () => {
    const [a] = await add('a', 'b', 'c');
    const { code, stdout, stderr } = await bench.queue('cancel', 'mails', 'b', a!.toUpperCase(), 'a', 'b');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(new RegExp(`^cancelled \\S+  b\ncancelled ${a}  a\n$`));
  });

  test('do what can be done, name what is not there, and exit 1', async () => {
    await add('a', 'b');
    const { code, stdout, stderr } = await bench.queue(
      'remove',
      'mails',
      'a',
      'nope',
      'b',
      'nor this',
      '--yes',
    );
    expect(code).toBe(1);
    expect(stdout).toMatch(/^removed \S+ {2}a\nremoved \S+ {2}b\n$/);
    expect(stderr).toMatch(/received "nope".*MESSAGE_NOT_FOUND.*\n.*received "nor this"/);
    expect(stderr).toContain('queue find mails');
  });

  test('tell what was so already, which is no failure', async () => {
    await add('a', 'b');
    await bench.queue('cancel', 'mails', 'a');
    expect(await bench.queue('cancel', 'mails', 'a', 'b')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\S+ {2}a had failed already\ncancelled \S+ {2}b\n$/) as string,
    });
    expect((await bench.queue('retry', 'mails', 'b')).stdout).toMatch(/^retried \S+ {2}b\n$/);
    expect((await bench.queue('retry', 'mails', 'b')).stdout).toMatch(/ b has not failed: it is ready\n$/);
  });

  test('print a line of JSON for each', async () => {
    const uuids = await add('a', 'b');
    await bench.queue('cancel', 'mails', 'a');
    const { stdout } = await bench.queue('cancel', 'mails', 'a', 'b', '--json');
    expect(parsedLines(stdout)).toEqual([
      { uuid: uuids[0], alias: 'a', cancelled: false },
      { uuid: uuids[1], alias: 'b', cancelled: true },
    ]);
  });

  test('take more targets than are looked up one by one', async () => {
    const aliases = Array.from({ length: 150 }, (_, index) => `alias ${index}`);
    const uuids = await add(...aliases, 'alias 3');
    const { code, stdout } = await bench.queue(
      'cancel',
      'mails',
      ...uuids.slice(100, 150),
      ...aliases.slice(0, 120),
    );
    expect(code).toBe(0);
    expect(stdout.match(/^cancelled/gm)).toHaveLength(150);
    // Of two messages with one alias the first in line was meant.
    expect(await counts()).toMatchObject({ ready: 1, failed: 150 });
    expect(await bench.json('get', 'mails')).toMatchObject({ uuid: uuids[150] });
    const more = await bench.queue('retry', 'mails', ...uuids.slice(0, 150), 'nope');
    expect([more.code, more.stdout.match(/^retried/gm)?.length]).toEqual([1, 150]);
  });

  test('look up what has the form of a uuid as an alias too', async () => {
    const alias = '01a20150-8d11-754d-9fc6-3c9b431b612a';
    await add(alias);
    expect((await bench.queue('cancel', 'mails', alias)).code).toBe(0);
  });

  test('let no control character of an alias through, nor one of an argument', async () => {
    await add('\u001b]0;x\u0007\u202e');
    const { stdout, stderr } = await bench.queue('cancel', 'mails', '\u001b]0;x\u0007\u202e', '\u001b[31m');
    expect(stdout + stderr).not.toMatch(CONTROLS_IN_LINES);
    expect(stdout).toContain('\\u001b]0;x\\u0007\\u202e');
  });
});

describe('queue retry', () => {
  test('--all puts all failed messages back', async () => {
    await add('a', 'b', 'c');
    await bench.queue('cancel', 'mails', 'a', 'b');
    expect((await bench.queue('retry', 'mails', '--all')).stdout).toBe('retried 2 messages\n');
    expect(await bench.json('retry', 'mails', '--all')).toEqual({ queue: 'mails', retried: 0 });
    expect((await bench.queue('retry', 'mails', '--all')).stdout).toBe('nothing has failed in mails\n');
    expect(await counts()).toMatchObject({ ready: 3, failed: 0 });
  });
});

describe('queue cancel', () => {
  test('keeps the reason with the message', async () => {
    await add('a');
    await bench.queue('cancel', 'mails', 'a', '--reason', 'wrong \u001b[31mtotal');
    await bench.queue('retry', 'mails', 'a');
    expect(await bench.json('get', 'mails')).toMatchObject({
      errors: [{ name: 'Cancelled', code: 'CANCELLED', message: 'wrong \u001b[31mtotal' }],
    });
  });

  test('refuses a reason that is too long to keep', async () => {
    await add('a');
    expectRefused(await bench.queue('cancel', 'mails', 'a', '--reason', 'x'.repeat(2000)), 64, 'reason');
    expect(await counts()).toMatchObject({ ready: 1 });
  });

  test('a worker that has the message in hand is told why at once', async () => {
    mkdirSync(join(bench.folder, 'workers'));
    bench.file(
      'workers/mails.mjs',
      `import { Worker } from 'coda-queue';
       export default class extends Worker {
         async process(message, { signal }) {
           process.stderr.write('has begun ' + message.alias + '\\n');
           await new Promise((resolve) => signal.addEventListener('abort', resolve));
           process.stderr.write('was told ' + signal.reason.code + '\\n');
         }
       }`,
    );
    await add('a');
    const worker = bench.start('queue-worker', ['mails']);
    await worker.said('has begun a');
    const before = Date.now();
    expect((await bench.queue('cancel', 'mails', 'a')).code).toBe(0);
    const cancelled = Date.now();
    await worker.said('was told CANCELLED');
    // A second after the cancel, which happened between these two.
    expect(Date.now() - cancelled).toBeLessThan(1000 + cancelled - before);
    worker.process.kill('SIGTERM');
    expect((await worker.ended).code).toBe(0);
    expect(await counts()).toMatchObject({ claimed: 0, failed: 1 });
  });
});

describe('queue remove', () => {
  test('--failed removes the failed ones alone', async () => {
    await add('a', 'b', 'c');
    await bench.queue('cancel', 'mails', 'a', 'c');
    const { code, stdout } = await bench.queue('remove', 'mails', '--failed', '--yes', '--json');
    expect([code, parsedLines(stdout)]).toMatchObject([
      0,
      [
        { alias: 'a', removed: true },
        { alias: 'c', removed: true },
      ],
    ]);
    expect(await counts()).toMatchObject({ ready: 1, failed: 0 });
    expect(await bench.queue('remove', 'mails', '--failed', '--yes')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: 'nothing has failed in mails\n',
    });
  });
});

describe('queue pause and queue resume', () => {
  test('stop and start the handing out of messages, and say what was so already', async () => {
    await add('a');
    expect((await bench.queue('pause', 'mails')).stdout).toBe('paused mails\n');
    expect((await bench.queue('pause', 'mails')).stdout).toBe('mails was paused already\n');
    expect((await bench.queue('get', 'mails')).code).toBe(1);
    expect(await bench.json('resume', 'mails')).toEqual({ queue: 'mails', paused: false, changed: true });
    expect(await bench.json('resume', 'mails')).toEqual({ queue: 'mails', paused: false, changed: false });
    expect((await bench.queue('resume', 'mails')).stdout).toBe('mails was not paused\n');
    expect((await bench.queue('get', 'mails')).code).toBe(0);
  });
});

describe('queue purge and queue destroy', () => {
  test('say what they have done', async () => {
    await add('a', 'b');
    await bench.queue('cancel', 'mails', 'a');
    expect((await bench.queue('purge', 'mails', '--yes')).stdout).toBe('purged 2 messages from mails\n');
    expect(await bench.json('purge', 'mails', '--yes')).toEqual({ queue: 'mails', purged: 0 });
    expect(await bench.json('destroy', 'mails', '--yes')).toEqual({ queue: 'mails', destroyed: true });
    expectRefused(await bench.queue('status', 'mails'), 69, 'QUEUE_NOT_FOUND');
  });
});

describe('queue attr', () => {
  test('sets, prints and removes attributes', async () => {
    const { stdout } = await bench.queue(
      'attr',
      'mails',
      'owner=bill=ing',
      'limits={"n": [60, null]}',
      'n=1',
      'e=',
    );
    expect(stdout).toBe('set owner to "bill=ing"\nset limits to {"n":[60,null]}\nset n to 1\nset e to ""\n');
    expect(await bench.json('attr', 'mails')).toEqual({
      owner: 'bill=ing',
      limits: { n: [60, null] },
      n: 1,
      e: '',
    });
    expect((await bench.queue('attr', 'mails', 'owner')).stdout).toBe('bill=ing\n');
    expect(await bench.json('attr', 'mails', 'owner')).toBe('bill=ing');
    expect((await bench.queue('attr', 'mails', 'limits')).stdout).toBe('{"n":[60,null]}\n');
    const change = await bench.queue('attr', 'mails', 'n=1', 'owner=null', 'gone=null', "e='x'");
    expect(change.stdout).toBe('n was 1 already\nremoved owner\ngone was not set\nset e to "\'x\'"\n');
    expect(await bench.json('attr', 'mails', 'e="1.0"')).toEqual({
      limits: { n: [60, null] },
      n: 1,
      e: '1.0',
    });
  });

  test('of a key that is not there says which one is near, and exits 1', async () => {
    await bench.queue('attr', 'mails', 'owner=x');
    expectRefused(await bench.queue('attr', 'mails', 'onwer'), 1, 'did you mean "owner"?');
    expectRefused(await bench.queue('attr', 'mails', 'toString'), 1, 'no attribute "toString"');
  });

  test('takes any key and value, and shows them harmless', async () => {
    await bench.queue('attr', 'mails', '__proto__={"x":1}', '\u001b[31m=\u001b[2J\n');
    const { stdout } = await bench.queue('attr', 'mails');
    expect(stdout).toContain('__proto__');
    for (const args of [[], ['\u001b[31m'], ['--json']]) {
      expect((await bench.queue('attr', 'mails', ...args)).stdout).not.toContain('\u001b');
    }
    expect(Object.keys((await bench.json('attr', 'mails')) as object)).toEqual(['__proto__', '\u001b[31m']);
  });

  test('refuses what cannot be kept', async () => {
    expectRefused(await bench.queue('attr', 'mails', `big=${'x'.repeat(70_000)}`), 64, 'INVALID_ARGUMENT');
    expectRefused(await bench.queue('attr', 'mails', 'n=1e999'), 64, 'INVALID_ARGUMENT');
    expect(await bench.json('attr', 'mails')).toEqual({});
  });
});

describe('each of these verbs', () => {
  test.each([
    [['pause', 'mials']],
    [['resume', 'mials']],
    [['retry', 'mials', '--all']],
    [['retry', 'mials', 'a']],
    [['cancel', 'mials', 'a']],
    [['remove', 'mials', 'a', '--yes']],
    [['remove', 'mials', '--failed', '--yes']],
    [['purge', 'mials', '--yes']],
    [['destroy', 'mials', '--yes']],
    [['attr', 'mials']],
    [['attr', 'mials', 'a=1']],
  ])('%j names the queue that may have been meant, and the folder', async (args) => {
    const ended = await bench.queue(...args);
    expectRefused(ended, 69, 'did you mean "mails"?');
    expect(ended.stderr).toContain(join(bench.folder, 'queues'));
  });

  test.each([
    [['retry', 'mails'], 'either targets or --all'],
    [['retry', 'mails', 'a', '--all'], 'either targets or --all'],
    [['remove', 'mails', '--yes'], 'either targets or --failed'],
    [['remove', 'mails', 'a', '--failed', '--yes'], 'either targets or --failed'],
    [['remove', 'mails', 'a'], '--yes'],
    [['remove', 'mails', '--failed'], '--yes'],
    [['purge', 'mails'], '--yes'],
    [['destroy', 'mails'], '--yes'],
    [['cancel', 'mails'], "missing required argument 'targets'"],
    [['cancel', 'mails', ''], 'empty text'],
    [['attr', 'mails', 'a', 'b'], 'one key to print'],
    [['attr', 'mails', 'a', 'b=1'], 'one key to print'],
    [['attr', 'mails', '=1'], 'a key before the ='],
    [['pause', '../x'], 'INVALID_QUEUE_NAME'],
    [['destroy', '../x', '--yes'], 'INVALID_QUEUE_NAME'],
    [['pasue', 'mails'], 'Did you mean pause?'],
    [['remove', 'mails', '--faild'], 'Did you mean --failed?'],
  ])('%j is refused as misuse, and nothing happens', async (args, said) => {
    await add('a');
    expectRefused(await bench.queue(...args), 64, said);
    expect(await counts()).toMatchObject({ ready: 1 });
  });

  test.each(['retry', 'cancel', 'remove', 'pause', 'resume', 'purge', 'destroy', 'attr', 'completion'])(
    'queue %s --help has an example',
    async (verb) => {
      const { code, stdout } = await bench.queue(verb, '--help');
      expect(code).toBe(0);
      expect(stdout).toMatch(/Examples?:/);
    },
  );

  // Root may do anything.
  test.runIf((process.getuid?.() ?? 0) !== 0)('names the folder that it may not write to', async () => {
    const folder = join(bench.folder, 'queues', 'mails');
    chmodSync(folder, 0o500);
    chmodSync(join(folder, '00000001.journal'), 0o400);
    const { code, stderr } = await bench.queue('pause', 'mails');
    chmodSync(folder, 0o700);
    expect(code).toBe(69);
    expect(stderr).toMatch(/EACCES.*STORAGE_FAILED/);
    expect(stderr).toContain(folder);
  });
});

describe('queue', () => {
  test('alone shows its help on stderr, as misuse', async () => {
    expectRefused(await bench.queue(), 64, 'Usage: queue');
  });

  test.each(['queue', 'queue-worker'] as const)('%s --version says it', async (command) => {
    const { code, stdout } = await bench.run(command, ['--version']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test('names the folder in which it could not do something', async () => {
    bench.file('plain', '');
    const { code, stderr } = await bench.queue('pause', 'mails', '--cache-root', 'plain/queues');
    expect(code).toBe(69);
    expect(stderr).toContain(join(bench.folder, 'plain', 'queues'));
  });
});
