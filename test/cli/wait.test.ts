import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QueueManager } from '../../src/queue-manager.ts';
import { Bench, parsedLines } from './commands.ts';
import { Terminal } from './terminal.ts';

let bench: Bench;
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

async function add(...aliases: string[]): Promise<string[]> {
  const added = await manager.addMessages(
    'mails',
    aliases.map((alias) => ({ data: 1, alias })),
  );
  return added.map(({ uuid }) => uuid);
}

/** Works off what comes, until `count` have been; those with an alias in `failing` fail for good. */
async function work(count: number, failing: readonly string[] = []): Promise<void> {
  for (let done = 0; done < count;) {
    const claims = await manager.claimMessages('mails', { limit: Math.min(100, count - done) });
    for (const claim of claims) {
      if (failing.includes(claim.alias)) {
        await manager.failMessage('mails', claim, new TypeError('no \u001b[31mway'), { final: true });
      } else await manager.completeMessage('mails', claim);
    }
    done += claims.length;
    if (claims.length === 0) await manager.waitForMessage('mails', { timeout: 30_000 });
  }
}

describe('queue wait', () => {
  test('says each ending as it comes, and exits 0 when all have completed', async () => {
    const [a, b] = await add('a', 'b');
    const waiting = bench.start('queue', ['wait', 'mails', a!, 'b']);
    const first = new Promise<string>((resolve) => waiting.process.stdout.once('data', resolve));
    await work(1);
    expect(await first).toMatch(new RegExp(`^completed {2}${a} {2}a {2}(now|\\d+s ago)\n$`));
    await work(1);
    const ended = await waiting.ended;
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toContain(`completed  ${b}  b`);
  });

  test('of what has ended before answers at once', async () => {
    const [a, b] = await add('a', 'b');
    await work(2);
    const { code, stdout } = await bench.queue('wait', 'mails', a!, b!, '--json');
    expect(code).toBe(0);
    expect(parsedLines(stdout)).toMatchObject([
      { uuid: a, alias: 'a', outcome: 'completed', at: expect.any(String) as string },
      { uuid: b },
    ]);
  });

  test.each<[string, (uuid: string) => Promise<unknown>, RegExp]>([
    ['failed', () => work(1, ['a']), /^failed .*TypeError: no \\u001b\[31mway\n$/],
    ['removed', (uuid) => manager.removeMessage('mails', uuid), /^removed /],
    ['purged', () => manager.purgeQueue('mails'), /^purged /],
    ['cancelled', (uuid) => manager.cancelMessage('mails', uuid, 'why'), /^failed .*Cancelled: why\n$/],
  ])('exits 1 when a message is %s', async (_, end, told) => {
    const [before] = await add('before');
    await work(1);
    const [uuid] = await add('a');
    const waiting = bench.start('queue', ['wait', 'mails', before!, uuid!]);
    // What it tells of the first shows that it has begun to wait for the second.
    await new Promise((resolve) => waiting.process.stdout.once('data', resolve));
    await end(uuid!);
    const { code, stdout } = await waiting.ended;
    expect([code, stdout.slice(stdout.indexOf('\n') + 1)]).toEqual([1, expect.stringMatching(told)]);
  });

  test('a message that nobody knows is unknown, an alias that nobody knows is refused', async () => {
    const uuid = '01890a5d-ac96-774b-bcce-b302099a8057';
    const { code, stdout } = await bench.queue('wait', 'mails', uuid);
    expect([code, stdout]).toEqual([
      1,
      `unknown  ${uuid}  not in the queue; how it ended is not remembered\n`,
    ]);
    expect(await bench.queue('wait', 'mails', 'x\u0007')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('"x\\u0007"') as string,
    });
  });

  test('exits 75 when the time is up, naming who has not ended; 1 when one had failed by then', async () => {
    const [a, b] = await add('a', 'b');
    const timeout = ['--timeout', '300ms'];
    expect(await bench.queue('wait', 'mails', a!, ...timeout)).toMatchObject({
      code: 75,
      stdout: '',
      stderr: `timed out after 300ms; not ended: ${a}\n`,
    });
    await manager.cancelMessage('mails', b!);
    const { code, stderr } = await bench.queue('wait', 'mails', a!, b!, ...timeout);
    expect(code).toBe(1);
    expect(stderr).toContain(a);
  });

  test('counts on a terminal of 40 columns, on a line that does not get into what is told', async () => {
    const uuids = await add('a', 'b', 'c');
    const options = { cwd: bench.folder, cols: 40 };
    const waiting = Terminal.command('queue', ['wait', 'mails', ...uuids, '--json'], options);
    await waiting.shows('waiting for 3 of 3');
    await work(1);
    await waiting.shows('waiting for 2 of 3');
    await work(2);
    expect(await waiting.ended).toMatchObject({ code: 0 });
    expect(parsedLines(waiting.everything().join('').replaceAll('}{', '}\n{'))).toMatchObject(
      uuids.map((uuid) => ({ uuid, outcome: 'completed' })),
    );
    await waiting.close();
  });

  test('ends when the queue is destroyed', async () => {
    const [a] = await add('a');
    const waiting = Terminal.command('queue', ['wait', 'mails', a!], { cwd: bench.folder, cols: 40 });
    await waiting.shows('waiting');
    await manager.destroyQueue('mails');
    expect(await waiting.ended).toMatchObject({ code: 69 });
    expect(waiting.everything().join('\n')).toContain('QUEUE_DESTROYED');
    await waiting.close();
  });

  test.each([
    [['mails'], "missing required argument 'targets'"],
    [['mails', 'a', '--timeout', 'soon'], 'such as 30s'],
    [['mails', 'a', '--timeout', '90d'], 'at most 24d'],
    [['mails', ''], 'empty text'],
  ])('refuses %j', async (args, said) => {
    const { code, stderr } = await bench.queue('wait', ...args);
    expect(code).toBe(64);
    expect(stderr).toContain(said);
  });
});

describe('queue add --wait', () => {
  test('exits with the outcome', async () => {
    const good = bench.queue('add', 'mails', '1', '--wait', '--alias', 'a');
    await work(1);
    expect(await good).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^added \S+ {2}a\ncompleted {2}\S+ {2}a {2}/) as string,
    });
    const bad = bench.queue('add', 'mails', '1', '--wait', '--alias', 'b', '--json');
    await work(1, ['b']);
    const { code, stdout } = await bad;
    expect([code, parsedLines(stdout)]).toMatchObject([1, [{ state: 'ready' }, { outcome: 'failed' }]]);
    const { code: late } = await bench.queue('add', 'mails', '1', '--wait', '--timeout', '200ms');
    expect(late).toBe(75);
  });

  test('with --ndjson waits for more than the queue remembers, and names what did not complete', async () => {
    const lines = Array.from({ length: 10_000 }, (_, n) => `{"data":${n},"alias":"m${n}"}`).join('\n');
    const path = bench.file('in.ndjson', lines);
    const adding = bench.queue('add', 'mails', '--ndjson', path, '--wait');
    // Most have ended, and are forgotten, before the last is added.
    await work(10_000, ['m1234']);
    const { code, stdout, stderr } = await adding;
    expect([code, stderr]).toEqual([1, '9,999 messages completed, 1 not\n']);
    expect(stdout).toMatch(/^added 10,000 messages to mails\nfailed {2}\S+ {2}m1234 .*\n$/);
  });

  test('with nothing to wait for is done', async () => {
    expect((await bench.run('queue', ['add', 'mails', '--ndjson', '-', '--wait'], '\n')).code).toBe(0);
  });

  test('--timeout alone is refused', async () => {
    expect((await bench.queue('add', 'mails', '1', '--timeout', '1s')).code).toBe(64);
  });
});
