import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QueueManager } from '../../src/queue-manager.ts';
import { Bench, parsedLines } from './commands.ts';

let bench: Bench;
let manager: QueueManager;

beforeEach(async () => {
  bench = new Bench();
  manager = await QueueManager.open({ cacheRoot: join(bench.folder, 'queues') });
  await manager.createQueue('mails');
  await manager.addMessages('mails', [
    { data: 1, alias: 'a' },
    { data: 2, alias: 'b', retries: 1 },
    { data: 3, alias: 'c', disabled: true },
  ]);
});
afterEach(async () => {
  await manager.close();
  await bench.close();
});

async function uuidOf(alias: string): Promise<string> {
  return (await manager.findMessage('mails', { alias }))?.uuid ?? '';
}

describe('queue update', () => {
  test('changes what is named and nothing else, by alias or uuid', async () => {
    const changed = ['--data', '{"x":1}', '--retries', '7', '--user', 'eve', '--alias', 'z'];
    const updated = await bench.json('update', 'mails', 'a', ...changed);
    expect(updated).toMatchObject({
      data: { x: 1 },
      retries: 7,
      username: 'eve',
      alias: 'z',
      state: 'ready',
    });
    const uuid = await uuidOf('z');
    expect((await bench.queue('update', 'mails', uuid.toUpperCase(), '--alias', '')).stdout).toBe(
      `updated ${uuid}\n`,
    );
    expect(await manager.findMessage('mails', { uuid })).toMatchObject({
      data: { x: 1 },
      alias: '',
      retries: 7,
    });
    expect(await manager.findMessage('mails', { alias: 'b' })).toMatchObject({ data: 2, retries: 1 });
  });

  test('takes data from stdin', async () => {
    expect((await bench.run('queue', ['update', 'mails', 'b', '--data', '-'], '"piped"')).code).toBe(0);
    expect(await manager.findMessage('mails', { alias: 'b' })).toMatchObject({ data: 'piped' });
  });

  test('puts off and brings forward', async () => {
    const { stdout } = await bench.queue('update', 'mails', 'a', '--defer', '2d');
    expect(stdout).toMatch(/^updated \S+ {2}a, deferred to 20\d\d-.* \(in 2d\)\n$/);
    expect(await manager.findMessage('mails', { alias: 'a' })).toMatchObject({ state: 'deferred' });
    expect(await bench.json('update', 'mails', 'a', '--now')).toMatchObject({
      state: 'ready',
      executionMode: 'immediate',
    });
  });

  test('of what has failed or is being worked on leaves the time alone, and says what would help', async () => {
    const [first, second] = await manager.claimMessages('mails', { limit: 2 });
    await manager.failMessage('mails', first!, new Error('no'), { final: true });
    for (const [alias, hint] of [
      ['a', `queue retry mails ${first!.uuid}`],
      ['b', `queue cancel mails ${second!.uuid}`],
    ] as const) {
      const { code, stdout, stderr } = await bench.queue('update', 'mails', alias, '--now', '--user', 'eve');
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toContain(hint);
      expect(await manager.findMessage('mails', { alias })).toMatchObject({ username: '' });
    }
    const { code, stderr } = await bench.queue('update', 'mails', 'b', '--data', '5');
    expect([code, stderr]).toEqual([0, 'it is being worked on; this counts from its next try on\n']);
  });

  test.each([
    [['mails', 'a'], 64, 'something to change'],
    [['mails', 'a', '--defer', '1h', '--now'], 64, 'either --defer or --now'],
    [['mails', 'a', '--defer', 'soon'], 64, 'INVALID_ARGUMENT'],
    [['mails', 'a', '--retries', 'many'], 64, 'whole number'],
    [['mails', 'a', '--data', '{'], 1, 'expected the payload as JSON'],
    [['mails', 'x\u001b', '--now'], 1, '"x\\u001b"'],
    [['mails', '', '--now'], 64, 'empty text'],
    [['mials', 'a', '--now'], 69, 'did you mean "mails"?'],
    [['mails', 'a', '--alias', 'x'.repeat(1025)], 1, 'alias'],
  ])('refuses %j', async (args, expected, said) => {
    const { code, stdout, stderr } = await bench.queue('update', ...args);
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toContain(said);
    expect(await manager.findMessage('mails', { alias: 'a' })).toMatchObject({ data: 1, state: 'ready' });
  });
});

describe('queue disable and queue enable', () => {
  test('switch the messages named, and say what was so already', async () => {
    const { code, stdout } = await bench.queue('disable', 'mails', 'a', 'c');
    expect(code).toBe(0);
    expect(stdout).toBe(`disabled ${await uuidOf('a')}  a\n${await uuidOf('c')}  c was disabled already\n`);
    expect(await bench.json('status', 'mails')).toMatchObject({ counts: { ready: 1, disabled: 2 } });
    const enabled = await bench.queue('enable', 'mails', 'a', await uuidOf('b'), '--json');
    expect(parsedLines(enabled.stdout)).toMatchObject([
      { alias: 'a', enabled: true },
      { alias: 'b', enabled: false },
    ]);
    expect((await manager.getMessage('mails'))?.data).toBe(1);
  });

  test('what is not found is named, the others are switched', async () => {
    const { code, stdout, stderr } = await bench.queue('enable', 'mails', 'zz', 'c');
    expect(code).toBe(1);
    expect(stderr).toContain('"zz"');
    expect(stdout).toContain('enabled');
    expect(await bench.json('status', 'mails')).toMatchObject({ counts: { ready: 3, disabled: 0 } });
  });

  test('--all switches all that are not so already', async () => {
    await manager.addMessages(
      'mails',
      Array.from({ length: 150 }, (_, n) => ({ data: n })),
    );
    expect((await bench.queue('disable', 'mails', '--all')).stdout).toBe('disabled 152 messages\n');
    expect((await bench.queue('disable', 'mails', '--all')).stdout).toBe('nothing to disable in mails\n');
    expect(await manager.getMessage('mails')).toBeUndefined();
    expect(await bench.json('enable', 'mails', '--all')).toEqual({ queue: 'mails', enabled: 153 });
    expect(await bench.json('status', 'mails')).toMatchObject({ counts: { ready: 153, disabled: 0 } });
  });

  test.each(['enable', 'disable'])(
    '%s without a target, or with targets and --all, is refused',
    async (verb) => {
      for (const args of [[], ['a', '--all']]) {
        const { code, stderr } = await bench.queue(verb, 'mails', ...args);
        expect(code).toBe(64);
        expect(stderr).toContain('either targets or --all');
      }
    },
  );
});
