import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QueueManager } from '../../src/queue-manager.ts';
import { Bench } from './commands.ts';
import { Terminal } from './terminal.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

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

const pid = process.pid;

describe('queue show', () => {
  test('shows a waiting message whole, by alias or uuid', async () => {
    const due = new Date('2099-12-24T18:00:00Z');
    const { uuid } = await manager.addMessage('mails', {
      data: { to: ['x'] },
      alias: 'a',
      retries: 2,
      username: 'eve',
      disabled: true,
      dateTimeDeferredExecution: due,
    });
    const { code, stdout, stderr } = await bench.queue('show', 'mails', 'a');
    expect([code, stderr]).toEqual([0, '']);
    const [head, ...parts] = stdout.split('\n\n');
    expect(head?.split('\n')).toEqual([
      `message   ${uuid}`,
      'alias     a',
      'queue     mails',
      'state     deferred, disabled',
      expect.stringMatching(/^added {5}20\d\d-\S+ \S+ \((now|\d+s ago)\) by eve$/),
      expect.stringMatching(/^due {7}20(99|00)-\S+ \S+ \(in \d+d\)$/),
      'tries     0 of 3',
    ]);
    expect(parts).toEqual([
      'data\n  {\n    "to": [\n      "x"\n    ]\n  }',
      expect.stringMatching(/^history\n {2}20\d\d-\S+ \S+ +added, due 20(99|00)-\S+ \S+\n$/),
    ]);
    expect((await bench.queue('show', 'mails', uuid.toUpperCase())).stdout).toContain('alias     a\n');
  });

  test('shows who works on a message, and how far that has come', async () => {
    await manager.addMessage('mails', { data: 1, alias: 'a' });
    const [claim] = await manager.claimMessages('mails');
    await manager.reportProgress('mails', claim!, { percent: 45.6, text: 'half \u001b[31m' });
    const { stdout } = await bench.queue('show', 'mails', 'a');
    expect(stdout).toContain('state     claimed\n');
    expect(stdout).toMatch(new RegExp(`^worker {4}process ${pid}, for \\d+(ms|s)$`, 'm'));
    expect(stdout).toMatch(/^progress {2}\[#{9}\.{11}\] 45% {2}half \\u001b\[31m {2}(now|\d+s ago)$/m);
  });

  test('shows errors with their stacks, and what happened in order', async () => {
    await manager.addMessage('mails', { data: 1, alias: 'a', retries: 1 });
    const [first] = await manager.claimMessages('mails');
    await manager.releaseMessage('mails', first!);
    const [second] = await manager.claimMessages('mails');
    const error = new TypeError('two\nlines', { cause: new Error('deep') });
    await manager.failMessage('mails', second!, error, { retryAt: new Date() });
    const [third] = await manager.claimMessages('mails');
    await manager.failMessage('mails', third!, Object.assign(new Error('end'), { code: 'E1' }));
    await manager.retryMessages('mails', 'all');
    await manager.cancelMessage('mails', first!.uuid, 'not needed');
    const { stdout } = await bench.queue('show', 'mails', 'a');
    expect(stdout).toMatch(/^state {5}failed, 20\d\d-/m);
    expect(stdout).toMatch(
      /^errors\n {2}try 1, \w.*: TypeError: two\n {2}lines\n {6}at .*show\.test(.*\n)+ {2}Caused by Error: deep\n(.*\n)+ {2}try 2.*: Error: end \(E1\)\n/m,
    );
    const told = stdout.slice(stdout.indexOf('history\n')).split('\n').slice(1, -1);
    expect(told.map((line) => line.replace(/^ {2}20\d\d-\S+ \S+ +(\+\S+(?: \d+s)?)? +/, ''))).toEqual([
      'added',
      `claimed by process ${pid}`,
      `released by process ${pid}`,
      `claimed by process ${pid}`,
      expect.stringMatching(/^failed by process \d+, TypeError: two, again 20\d\d-/),
      `claimed by process ${pid}`,
      `failed by process ${pid}, Error: end`,
      expect.stringMatching(/^retried/),
      expect.stringMatching(/^cancelled.*, Cancelled: not needed$/),
    ]);
  });

  test('shows one that has ended, as far as it is remembered', async () => {
    const { uuid } = await manager.addMessage('mails', { data: 1, alias: 'a' });
    const [claim] = await manager.claimMessages('mails');
    await manager.completeMessage('mails', claim!);
    for (const target of ['a', uuid, uuid.toUpperCase()]) {
      const { code, stdout } = await bench.queue('show', 'mails', target);
      expect(code).toBe(0);
      expect(stdout).toMatch(
        /^message .*\nalias {5}a\nqueue .*\nstate {5}completed, 20.*\n\nhistory\n(.*\n)*.*completed/,
      );
    }
    expect(await bench.json('show', 'mails', uuid)).toMatchObject({
      uuid,
      alias: 'a',
      history: [{ event: 'added' }, { event: 'claimed' }, { event: 'completed' }],
      ending: { uuid, outcome: 'completed' },
      complete: true,
    });
  });

  test('prints one object with --json', async () => {
    const added = await manager.addMessage('mails', { data: { x: '\u009b' }, alias: 'a' });
    const shown = (await bench.json('show', 'mails', 'a')) as Record<string, unknown>;
    const { duplicate: _, ...message } = JSON.parse(JSON.stringify(added)) as Record<string, unknown>;
    expect(shown).toMatchObject({ ...message, history: [{ event: 'added' }], complete: true });
    expect(shown).not.toHaveProperty('ending');
  });

  test('lets nothing of a message steer the terminal, and fits a narrow one', async () => {
    const evil = '\u001b[2J\u202e\u009b31m';
    const hostile = { data: { [evil]: [evil] }, alias: `${evil}a`, username: evil };
    await manager.addMessage('mails', hostile);
    const [claim] = await manager.claimMessages('mails');
    const error = Object.assign(new Error(`${evil}\r`), {
      name: evil,
      code: evil,
      stack: `${evil}\n${evil}`,
    });
    await manager.failMessage('mails', claim!, error, { final: true });
    const terminal = Terminal.command('queue', ['show', 'mails', `${evil}a`], {
      cwd: bench.folder,
      cols: 40,
      rows: 60,
      env: { NO_COLOR: '1' },
    });
    expect(await terminal.ended).toMatchObject({ code: 0 });
    expect(terminal.output.replaceAll('\r\n', '\n')).not.toMatch(CONTROLS_IN_LINES);
    expect(terminal.screen().find((row) => row.endsWith('added'))).toMatch(/^ {2} *(now|\d+s ago) +added$/);
    await terminal.close();
  });

  test.each([
    [['mails', 'x\u0007'], 1, '"x\\u0007"'],
    [['mails', '01890a5d-ac96-774b-bcce-b302099a8057'], 1, 'MESSAGE_NOT_FOUND'],
    [['mails', ''], 64, 'INVALID_ARGUMENT'],
    [['mails'], 64, "missing required argument 'target'"],
    [['mials', 'a'], 69, 'did you mean "mails"?'],
  ])('refuses %j', async (args, expected, said) => {
    const { code, stdout, stderr } = await bench.queue('show', ...args);
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toContain(said);
  });

  test.each(['find', 'show', 'wait', 'update', 'enable', 'disable'])(
    'queue %s --help has an example',
    async (verb) => {
      const { code, stdout } = await bench.queue(verb, '--help');
      expect(code).toBe(0);
      expect(stdout).toMatch(/Examples:\n {2}queue /);
      expect(stdout).toContain('--json');
    },
  );
});
