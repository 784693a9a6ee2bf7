/** What is said between a supervisor and its children: commands, answers, events; hung, hostile and deaf children. */
import { describe, expect } from 'vitest';
import { QueueManager } from '../../src/queue-manager.ts';
import { WAIT, courtTest as test } from './masters.ts';

const CHATTY = `${WAIT}
  commandStatus() { return { id: this.id, name: this.name, params: this.params }; }
  commandReloadCache(args) { return args; }
  commandHTTPPort() { return 80; }
  async commandHang() { await new Promise(() => {}); }
  async commandLate(ms) { await new Promise((resolve) => setTimeout(resolve, ms)); return 'late'; }
  commandBlock() { for (;;); }
  commandCrash() { process.exit(3); }
  commandThrow() { throw Object.assign(new Error('no \\u001b[2J way'), { code: 'UNKNOWN_COMMAND' }); }
  commandNothing() {}
  commandFunction() { return () => 1; }
  commandLarge(n) { return 'x'.repeat(n); }
  commandDeep(n) { let deep = 1; for (let i = 0; i < n; i++) deep = [deep]; return deep; }
  commandTell(n) { for (let i = 0; i < n; i++) this.emit('count', i); }
  commandEmit({ event, data }) { this.emit(event, data); }
  async commandQueue(data) { const { uuid, duplicate } = await this.sendQueue('mails', data, { alias: 'one' }); return { uuid, duplicate }; }
  commandNote(text) { this.log.info('noted', { text }); }
  notACommand() { return 1; }`;

describe('collect', () => {
  test('gets an answer of each child in time, whatever the others do', async ({ court }) => {
    const chatty = court.class('chatty', CHATTY);
    const silent = court.class('silent', `${WAIT} async commandStatus() { await new Promise(() => {}); }`);
    const dying = court.class('dying', `${WAIT} commandStatus() { process.exit(7); }`);
    const blocked = court.class('blocked', `${WAIT} commandStatus() { for (;;); }`);
    const master = court.supervise([
      { name: 'chatty', class: chatty, instances: 2, params: { colour: 'red' } },
      { name: 'silent', class: silent, instances: 6 },
      { name: 'dying', class: dying },
      { name: 'blocked', class: blocked, stopDeadline: 100 },
      { name: 'absent', class: chatty, autostart: false },
      { name: 'program', exec: 'sleep 1000' },
    ]);
    await master.up('chatty#1', 'chatty#2', 'silent#6', 'dying#1', 'blocked#1', 'program#1');
    const began = performance.now();
    const answers = await master.collect('*', 'status', 700);
    const took = performance.now() - began;
    expect(
      answers.map(({ child, ...answer }) => [child, answer.ok ? answer.result : answer.error.code]),
    ).toEqual([
      ['chatty#1', { id: 'chatty#1', name: 'chatty', params: { colour: 'red' } }],
      ['chatty#2', { id: 'chatty#2', name: 'chatty', params: { colour: 'red' } }],
      ...[1, 2, 3, 4, 5, 6].map((number) => [`silent#${number}`, 'COMMAND_TIMEOUT']),
      ['dying#1', 'CHILD_GONE'],
      ['blocked#1', 'COMMAND_TIMEOUT'],
      ['absent#1', 'CHILD_GONE'],
      ['program#1', 'UNKNOWN_COMMAND'],
    ]);
    expect(took).toBeGreaterThan(600);
    expect(took).toBeLessThan(3000);
    const dead = answers.find(({ child }) => child === 'dying#1');
    expect(dead).toMatchObject({
      error: { message: 'dying#1 has ended before it answered: it ended with exit code 7' },
    });
    await expect(master.collect('chaty', 'status', 100)).rejects.toThrow(
      'no process named "chaty"; did you mean chatty?',
    );
    await master.stop();
    expect(court.running()).toEqual([]);
  });
});

describe('a command', () => {
  test('is a method of the class, by its name in words, and nothing else', async ({ court }) => {
    const master = court.supervise([{ name: 'chatty', class: court.class('chatty', CHATTY), instances: 2 }]);
    await master.up('chatty#1', 'chatty#2');
    const ask = (command: string, args: unknown = null): Promise<unknown> =>
      master.call('send', 'chatty#1', command, args, { deadline: 5000 });
    await expect(ask('reload-cache', { a: [1, { b: null }] })).resolves.toEqual({ a: [1, { b: null }] });
    await expect(ask('reloadCache', 1)).resolves.toBe(1);
    await expect(ask('HTTPPort')).resolves.toBe(80);
    await expect(ask('nothing')).resolves.toBeNull();
    await expect(ask('statu')).rejects.toThrow(
      'chatty#1: no command "statu"; did you mean status? known: HTTPPort, block, crash, deep, emit, function, hang, ' +
        'large, late, note, nothing, queue, reload-cache, status, tell, throw',
    );
    for (const name of [
      'constructor',
      '__proto__',
      'toString',
      'to-string',
      'run',
      'emit()',
      'not-a-command',
      '../x',
      'Status\n',
      'x'.repeat(100),
    ])
      await expect(ask(name)).rejects.toMatchObject({ code: 'UNKNOWN_COMMAND' });
    for (const name of ['', 'x'.repeat(101)])
      await expect(ask(name)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(master.send('chatty', 'status')).rejects.toThrow(
      'expected one child, such as chatty#1; chatty has 2 of them',
    );
    await expect(master.send('chatty#3', 'status')).rejects.toThrow(
      'no child "chatty#3"; known: chatty#1, chatty#2',
    );
    await expect(master.send('chatty#1\u001b', 'status')).rejects.toThrow('no child "chatty#1\\u001b"');
  });

  test('that throws, or answers with what is no JSON, is told without control characters', async ({
    court,
  }) => {
    const master = court.supervise([{ name: 'chatty', class: court.class('chatty', CHATTY) }]);
    await master.up('chatty#1');
    // A code that it has made up counts for nothing.
    await expect(master.send('chatty', 'throw')).rejects.toMatchObject({
      code: 'COMMAND_FAILED',
      message: 'chatty#1: no \\u001b[2J way',
    });
    await expect(master.send('chatty', 'function')).rejects.toThrow(
      'expected data that JSON can hold, received a function',
    );
    await expect(master.send('chatty', 'deep', 100)).rejects.toThrow('nested at most 64 deep');
    await expect(master.send('chatty', 'deep', 60)).resolves.toBeDefined();
  });

  test('is answered with up to 1 MiB, and asked with as much', async ({ court }) => {
    const master = court.supervise([{ name: 'chatty', class: court.class('chatty', CHATTY) }]);
    await master.up('chatty#1');
    const most = 1024 * 1024 - 2;
    await expect(master.send('chatty', 'large', most)).resolves.toHaveLength(most);
    await expect(master.send('chatty', 'large', most + 1)).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    await expect(master.send('chatty', 'reload-cache', 'x'.repeat(most))).resolves.toHaveLength(most);
    await expect(master.send('chatty', 'reload-cache', 'x'.repeat(most + 1))).rejects.toMatchObject({
      code: 'MESSAGE_TOO_LARGE',
    });
    // What is escaped on its way counts as it is sent.
    await expect(master.send('chatty', 'reload-cache', '"'.repeat(most / 2))).resolves.toHaveLength(most / 2);
  });

  test('whose answer comes too late has timed out, and the answer is nobody else’s', async ({ court }) => {
    const master = court.supervise([{ name: 'chatty', class: court.class('chatty', CHATTY) }]);
    await master.up('chatty#1');
    await expect(master.send('chatty', 'late', 300, 50)).rejects.toMatchObject({ code: 'COMMAND_TIMEOUT' });
    // The late one comes while this one waits.
    await expect(master.send('chatty', 'hang', null, 800)).rejects.toMatchObject({ code: 'COMMAND_TIMEOUT' });
    await expect(master.send('chatty', 'reload-cache', 'mine')).resolves.toBe('mine');
  });

  test('to a child that is starting waits until it is up', async ({ court }) => {
    const slow = court.class('slow', CHATTY, 'await new Promise((resolve) => setTimeout(resolve, 1000));');
    const never = court.class('never', CHATTY, 'await new Promise((resolve) => setTimeout(resolve, 1e6));');
    const master = court.supervise([
      { name: 'slow', class: slow },
      { name: 'never', class: never, stopDeadline: 100 },
    ]);
    await master.event('starting', 'never#1');
    await expect(master.send('slow', 'nothing')).resolves.toBeNull();
    await expect(master.send('never', 'nothing', null, 200)).rejects.toThrow(
      'never#1 had not come up after 200 ms',
    );
  });

  test('broadcast reaches all classes, and nobody waits for it', async ({ court }) => {
    const chatty = court.class('chatty', CHATTY);
    const master = court.supervise([
      { name: 'chatty', class: chatty, instances: 2 },
      { name: 'program', exec: 'sleep 1000' },
    ]);
    await master.up('chatty#1', 'chatty#2', 'program#1');
    await master.call('broadcast', 'tell', 1);
    await Promise.all([master.event('told', 'chatty#1'), master.event('told', 'chatty#2')]);
    await master.call('broadcast', 'unheard-of', 1);
    await master.line('command "unheard-of" has failed: no command "unheard-of"');
  });
});

describe('a child', () => {
  test('enqueues, and tells events, of a bounded size', async ({ court }) => {
    const manager = await QueueManager.open({ cacheRoot: `${court.folder}/queues` });
    const master = court.supervise([{ name: 'chatty', class: court.class('chatty', CHATTY) }]);
    await master.up('chatty#1');
    await expect(master.send('chatty', 'queue', { a: 1 })).rejects.toThrow('mails');
    await manager.createQueue('mails', { uniqueAlias: true });
    const added = (await master.send('chatty', 'queue', { a: 1 })) as { uuid: string; duplicate: boolean };
    expect(await manager.getMessage('mails')).toMatchObject({
      uuid: added.uuid,
      alias: 'one',
      data: { a: 1 },
    });
    await manager.close();

    await master.send('chatty', 'emit', { event: 'moved', data: { x: 1 } });
    expect((await master.event('told', 'chatty#1')).data).toEqual({ event: 'moved', data: { x: 1 } });
    const data = 'x'.repeat(16 * 1024);
    await expect(master.send('chatty', 'emit', { event: 'moved', data })).rejects.toThrow(
      'at most 16384 bytes',
    );
    await expect(master.send('chatty', 'emit', { event: '', data: 1 })).rejects.toThrow(
      'the name of an event',
    );
    await master.send('chatty', 'note', 'x');
    expect(await master.line('noted')).toMatchObject({ process: 'chatty', child: 'chatty#1', text: 'noted' });
  });

  test('that floods with events costs a bounded amount, and is still heard', async ({ court }) => {
    const master = court.supervise([{ name: 'chatty', class: court.class('chatty', CHATTY) }]);
    await master.up('chatty#1');
    await master.send('chatty', 'tell', 40_000);
    await master.line(/^\d+ events and lines that it told were left out$/);
    const told = master.events.filter(({ type }) => type === 'told');
    expect(told.length).toBeGreaterThanOrEqual(1000);
    expect(told.length).toBeLessThan(20_000);
    const ids = master.events.map(({ id }) => id);
    expect(ids).toEqual(ids.map((_, index) => index + 1));
    await expect(master.send('chatty', 'nothing')).resolves.toBeNull();
  });

  test('that never reads is sent a bounded amount', async ({ court }) => {
    const master = court.supervise([
      { name: 'chatty', class: court.class('chatty', CHATTY), stopDeadline: 100 },
    ]);
    await master.up('chatty#1');
    void master.send('chatty', 'block').catch(() => undefined);
    const before = await master.call<number>('memory');
    const ends = await master.call<string[]>('sendMany', 200, 'chatty', 'reload-cache', 1_000_000, {
      deadline: 300,
    });
    const after = await master.call<number>('memory');
    expect(ends.filter((end) => end === 'COMMAND_TIMEOUT').length).toBeLessThan(8);
    expect(ends.filter((end) => end === 'CHILD_BUSY').length).toBeGreaterThan(190);
    expect(after - before).toBeLessThan(150_000_000);
    await master.stop();
  });

  test.for([
    ['garbage', '"not json\\n"', 'it sent "not json" instead of a message'],
    ['a line without an end', '"x".repeat(3e6)', 'it sent a message of more than 1048576 bytes'],
  ] as const)('that sends %s is ended, as a failure', async ([, bytes, why], { court }) => {
    const hostile = court.class(
      'hostile',
      `async run() { await write(${bytes}); await new Promise((resolve) => setTimeout(resolve, 1e6)); }`,
      // Its end of the channel does not block: what does not fit waits.
      `import fs from 'node:fs';
      async function write(text) {
        for (let at = 0; at < text.length;) {
          try { at += fs.writeSync(3, text.slice(at)); }
          catch (error) { if (error.code !== 'EAGAIN') throw error; }
          await new Promise(setImmediate);
        }
      }`,
    );
    const master = court.supervise([{ name: 'hostile', class: hostile, restartLimit: 1 }]);
    await master.event('failed', 'hostile#1');
    expect((await master.child('hostile#1')).lastEnd).toMatchObject({
      why: expect.stringContaining(why),
      failed: true,
    });
  });

  test('that says what no child says, is passed over', async ({ court }) => {
    const lines = [
      null,
      1,
      [],
      'x',
      {},
      { type: 'answer' },
      { type: 'answer', id: 1, result: 'forged' },
      { type: 'begin' },
      { type: 'event', event: 1 },
      { type: 'event', event: 'x'.repeat(101), data: 1 },
      { type: '__proto__' },
      { type: 'log', level: 'OFF', text: 'x', fields: {} },
      { type: 'log', level: 'INFO', text: 1, fields: {} },
      { type: 'log', level: 'INFO', text: 'a\u001b[2Jb', fields: { child: 'other#1' } },
      { type: 'ready' },
      { type: 'ready', verifies: 1 },
    ];
    const deep = '{"type":"event","event":"deep","data":' + '['.repeat(1000) + ']'.repeat(1000) + '}';
    const text = [...lines.map((line) => JSON.stringify(line)), deep, ''].join('\n');
    const hostile = court.class(
      'hostile',
      `${WAIT} commandLie() { fs.writeSync(3, ${JSON.stringify(text)}); return 'true'; }`,
      "import fs from 'node:fs';",
    );
    const master = court.supervise([{ name: 'hostile', class: hostile }]);
    await master.up('hostile#1');
    // Its first question has the number 1, which is forged: it can only lie about what it was asked itself.
    await expect(master.send('hostile', 'lie')).resolves.toBe('forged');
    await expect(master.send('hostile', 'lie')).resolves.toBe('true');
    expect(await master.line(/^a.u001b.2Jb$/)).toMatchObject({ child: 'hostile#1' });
    await master.line('it has said what no child says');
    expect(master.events.filter(({ type }) => type === 'told')).toEqual([]);
    expect((await master.child('hostile#1')).state).toBe('running');
  });
});
