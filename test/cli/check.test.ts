import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { QueueManager } from '../../src/index.ts';
import { Bench, parsedLines } from './commands.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

const ZOD = dirname(fileURLToPath(import.meta.resolve('zod/package.json')));

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
  for (const folder of ['node_modules', 'workers']) mkdirSync(join(bench.folder, folder));
  symlinkSync(ZOD, join(bench.folder, 'node_modules', 'zod'));
});
afterEach(() => bench.close());

function open(): Promise<QueueManager> {
  return QueueManager.open({ cacheRoot: join(bench.folder, 'queues'), durability: 'os' });
}

async function queued(queue: string, ...payloads: unknown[]): Promise<void> {
  await using queues = await open();
  await queues.createQueue(queue);
  await queues.addMessages(queue, payloads.map((data) => ({ data })) as { data: number }[]);
}

/** A worker file whose schema is `schema`, an expression. */
function worker(type: string, schema: string): void {
  writeFileSync(
    join(bench.folder, 'workers', `${type}.ts`),
    `import { Worker } from 'coda-queue';
    import { z } from 'zod';
    const byHand = (validate: (value: unknown) => unknown) => ({ '~standard': { version: 1, vendor: 'me', validate } });
    export default class extends Worker {
      schema = ${schema};
      process(): void {}
    }`,
  );
}

/** All that is on disk of the queues. */
function bytes(): string[] {
  const root = join(bench.folder, 'queues');
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  return names.map((name) => {
    const isFile = name.endsWith('.journal');
    return isFile ? `${name} ${readFileSync(join(root, name)).toString('base64')}` : name;
  });
}

test('a deploy that would break is told before it does, and nothing in the queue changes', async () => {
  const mail = z.object({ to: z.string() });
  worker('mails', 'z.object({ to: z.string() })');
  const queues = await QueueManager.open({
    cacheRoot: join(bench.folder, 'queues'),
    durability: 'os',
    schemas: { mails: mail },
  });
  await queues.createQueue('mails');
  await queues.addMessage('mails', { data: { to: 'ann@example.org' } });
  const { uuid } = await queues.addMessage('mails', { data: { to: 'bob' }, alias: 'B-1' });
  await queues.close();
  const before = bytes();
  expect(await bench.queue('check')).toEqual({
    code: 0,
    signal: null,
    stdout: '',
    stderr: 'mails: 2 messages checked, all fit\n',
  });

  worker('mails', 'z.object({ to: z.email() })');
  const { code, stdout, stderr } = await bench.queue('check');
  expect([code, stderr]).toEqual([1, 'mails: 1 of 2 messages would fail\n']);
  const [header, row, ...others] = stdout.trimEnd().split('\n');
  expect(header).toMatch(/^queue +uuid +alias +reasons$/);
  expect(row).toMatch(new RegExp(`^mails +${uuid} +B-1 +data\\.to: Invalid email address$`));
  expect(others).toEqual([]);
  const json = await bench.queue('check', 'mails', '--json');
  expect([json.code, parsedLines(json.stdout)]).toEqual([
    1,
    [{ queue: 'mails', uuid, alias: 'B-1', issues: ['data.to: Invalid email address'] }],
  ]);
  expect(bytes()).toEqual(before);
});

test('the workers of another folder can be asked, before they are deployed', async () => {
  await queued('mails', 'text');
  worker('mails', 'z.string()');
  mkdirSync(join(bench.folder, 'next'));
  bench.file(
    'next/mails.mjs',
    `import { Worker } from 'coda-queue';
    export default class extends Worker {
      get schema() {
        return { '~standard': { version: 1, vendor: 'me', validate: () => ({ issues: [{ message: 'never' }] }) } };
      }
      process() {}
    }`,
  );
  expect((await bench.queue('check')).code).toBe(0);
  const { code, stdout } = await bench.queue('check', '--workers', 'next');
  expect(code).toBe(1);
  expect(stdout).toContain('data: never');
});

test('all messages that may still be worked on are looked at, failed ones are not', async () => {
  worker('mixed', 'z.string()');
  await using queues = await open();
  await queues.createQueue('mixed');
  for (const alias of ['claimed', 'failed']) await queues.addMessage('mixed', { data: 1, alias });
  const claims = await queues.claimMessages('mixed', { limit: 2 });
  expect(claims.map(({ alias }) => alias)).toEqual(['claimed', 'failed']);
  await queues.failMessage('mixed', claims[1]!, new Error('no'));
  const due = new Date(Date.now() + 3_600_000);
  await queues.addMessages('mixed', [
    { data: 1, alias: 'ready' },
    { data: 1, alias: 'deferred', dateTimeDeferredExecution: due },
    { data: 1, alias: 'disabled', disabled: true },
    { data: 'fits' },
  ]);
  const { code, stdout, stderr } = await bench.queue('check', '--json');
  expect(parsedLines(stdout)).toMatchObject(
    ['claimed', 'ready', 'deferred', 'disabled'].map((alias) => ({ alias })),
  );
  expect([code, stderr]).toEqual([1, 'mixed: 4 of 5 messages would fail; 1 failed left out\n']);
  // The claim is still held.
  expect(await queues.completeMessage('mixed', claims[0]!)).toBe(true);
});

test('no worker is started, and what its file has opened keeps nobody waiting', async () => {
  await queued('hooks', 1);
  bench.file(
    'workers/hooks.mjs',
    `import { writeFileSync } from 'node:fs';
    import { Worker } from 'coda-queue';
    setInterval(() => {}, 1000);
    const called = () => writeFileSync('called', '');
    export default class extends Worker {
      schema = { '~standard': { version: 1, vendor: 'me', validate: async (value) => ({ value }) } };
      start = called; process = called; failed = called; stop = called;
    }`,
  );
  expect(await bench.queue('check')).toMatchObject({
    code: 0,
    stderr: 'hooks: 1 message checked, all fit\n',
  });
  expect(readdirSync(bench.folder)).not.toContain('called');
});

test('schemas that answer late or throw are reasons like others; none of their text reaches a terminal raw', async () => {
  worker(
    'late',
    "byHand(async (value) => ({ issues: [{ message: value + '\\u001b[2J', path: ['\\u202e'] }] }))",
  );
  worker('throws', "byHand(() => { throw new Error('broken \\u001b[2J'); })");
  await queued('throws', 1);
  await using queues = await open();
  await queues.createQueue('late');
  await queues.addMessage('late', { data: '\u001b[31m', alias: 'evil\n\u001b]0;x\u0007' });
  const { code, stdout, stderr } = await bench.queue('check');
  expect(code).toBe(1);
  expect(stdout).toContain('evil\\u000a\\u001b]0;x\\u0007  data."\\u202e": \\u001b[31m\\u001b[2J\n');
  expect(stdout).toContain('the schema threw "broken \\u001b[2J"\n');
  expect(stdout + stderr).not.toMatch(CONTROLS_IN_LINES);
});

test('a reader that has seen enough ends it', async () => {
  await queued('many', ...Array.from({ length: 20_000 }, (_, i) => i));
  worker('many', 'z.string()');
  const { stdout, stderr } = await bench.shell('queue check | head -n 2; exit 0');
  expect(stdout.trimEnd().split('\n')).toHaveLength(2);
  expect(stderr).toMatch(/^many: [\d,]+ of [\d,]+ messages would fail\n$/);
  expect(stderr).not.toContain('of 20,000');
});

describe('what cannot be checked', () => {
  test('is told, and is no failure, unless it was named', async () => {
    await queued('anything', 1);
    await queued('plain', 1);
    worker('plain', 'undefined');
    expect(await bench.queue('check')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringMatching(
        /^anything: not checked, there is no worker of this type\nplain: not checked, ".*plain\.ts" has no schema\n$/,
      ),
    });
    expect((await bench.queue('check', 'plain')).code).toBe(0);
    const named = await bench.queue('check', 'anything');
    expect(named.code).toBe(64);
    expect(named.stderr).toContain('no worker of type "anything"');
  });

  test('for the command line is wrong is a usage error', async () => {
    await queued('mails', 1);
    for (const args of [['--workers', 'nowhere'], ['../x'], ['--wrokers', 'x'], ['--workers']]) {
      const { code, stdout } = await bench.queue('check', ...args);
      expect([code, stdout]).toEqual([64, '']);
    }
    const { code, stderr } = await bench.queue('check', 'mials');
    expect(code).toBe(69);
    expect(stderr).toContain('did you mean "mails"?');
  });

  test.each([
    ['cannot be loaded', 'await nothing;', 'cannot be loaded'],
    ['has something else for a schema', '{ type: "object" }', 'expected a Standard Schema'],
  ])('for its worker %s is a failure', async (_, schema, why) => {
    await queued('mails', 1);
    worker('mails', schema);
    const { code, stderr } = await bench.queue('check');
    expect(code).toBe(64);
    expect(stderr).toContain(why);
  });

  test('does not hide what does not fit, whose exit code comes first', async () => {
    await queued('b-broken', 1);
    await queued('c-misfit', 1);
    worker('b-broken', 'await nothing;');
    worker('c-misfit', 'z.string()');
    const { code, stderr } = await bench.queue(
      'check',
      'a-none',
      'b-broken',
      'c-misfit',
      'd-none',
      'c-misfit',
    );
    expect(code).toBe(1);
    expect(stderr.match(/c-misfit: 1 of 1 message would fail/g)).toHaveLength(1);
    expect(stderr).toMatch(/a-none.*QUEUE_NOT_FOUND[^]*b-broken[^]*d-none.*QUEUE_NOT_FOUND/);
  });
});

test('without any queue, or any message, there is nothing to check', async () => {
  expect(await bench.queue('check')).toMatchObject({
    code: 0,
    stdout: '',
    stderr: expect.stringMatching(/found none\nno queues\n$/) as string,
  });
  worker('mails', 'z.string()');
  await queued('mails');
  expect(await bench.queue('check')).toMatchObject({ code: 0, stderr: 'mails: no messages to check\n' });
});
