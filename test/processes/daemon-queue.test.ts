/** The daemon that ships: several queues, each with worker processes of its own. */
import { mkdirSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { factsOf } from '../../src/process-table.ts';
import type { Started } from '../cli/commands.ts';
import { stateOf, until } from './stage.ts';
import { yardTest as test, type Yard } from './yard.ts';

/** @param process the body of its method. */
function worker(yard: Yard, type: string, process: string, more = ''): void {
  mkdirSync(`${yard.folder}/workers`, { recursive: true });
  yard.bench.file(
    `workers/${type}.mjs`,
    `import { Worker } from 'coda-queue';
    export default class extends Worker { ${more} async process(message, { log, signal }) { ${process} } }`,
  );
}

function configure(yard: Yard, queues: string, worker = ''): void {
  yard.bench.file(
    'config.ini',
    `[log]\ndestination = stderr\n[daemon]\nqueues = ${queues}\n[worker]\n${worker}\n`,
  );
}

async function up(yard: Yard, ...queues: string[]): Promise<Started> {
  const daemon = yard.foreground('queue');
  for (const queue of queues) await daemon.said(`"working on ${queue}"`);
  return daemon;
}

async function add(yard: Yard, queue: string, data: unknown = 1): Promise<void> {
  const { code, stderr } = await yard.bench.queue('add', queue, JSON.stringify(data));
  if (code !== 0) throw new Error(stderr);
}

/** Its processes, apart from the daemon's own. */
function members(yard: Yard, daemon: Started): number[] {
  return yard.running().filter((pid) => pid !== daemon.process.pid);
}

const SAY = 'log.info("did " + message.data);';

describe('the queues of the configuration', () => {
  test('are drained by workers of their types; a stop ends them all', async ({ yard }) => {
    worker(yard, 'anpr', SAY);
    worker(yard, 'mail', SAY);
    configure(yard, 'anpr, letters=mail:2x2');
    const daemon = await up(yard, 'anpr', 'letters');
    await add(yard, 'anpr', 'plate');
    await add(yard, 'letters', 'letter');
    await daemon.said('"did plate"');
    await daemon.said('"did letter"');
    await until(() => members(yard, daemon).length >= 3);
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(/working on letters.*"processes":2,"concurrency":2/);
    expect(yard.running()).toEqual([]);
  });

  test('are there as soon as the daemon is, whatever becomes of their workers', async ({ yard }) => {
    worker(yard, 'sick', '', 'start() { throw new Error("no license"); }');
    configure(yard, 'sick');
    const daemon = yard.foreground('queue');
    await daemon.said('no license');
    await add(yard, 'sick');
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0 });
  });

  test('must be named, and their workers be there', async ({ yard }) => {
    worker(yard, 'anpr', SAY);
    for (const [queues, why] of [
      ['""', '[daemon] queues: expected the queues to drain'],
      ['anrp', 'did you mean anpr?'],
      ['anpr:0', 'expected queues with commas between'],
    ] as const) {
      configure(yard, queues);
      const { code, stderr } = await yard.foreground('queue').ended;
      expect([code, stderr]).toEqual([78, expect.stringContaining(why)]);
    }
    expect(yard.running()).toEqual([]);
  });
});

describe('a type that is sick', () => {
  test('does not stop the others, and is tried again until it is well', async ({ yard }) => {
    worker(yard, 'anpr', SAY);
    worker(yard, 'sick', SAY, 'start() { throw new Error("no license"); }');
    configure(yard, 'anpr, sick');
    const daemon = await up(yard, 'anpr');
    await daemon.said(/is not being drained: .*no license; again in 1 s/);
    await add(yard, 'anpr', 'plate');
    await daemon.said('"did plate"');
    const why = 'sick is not being drained: start() of the worker failed: no license';
    await until(async () => (await yard.status('queue')).troubles.length > 0);
    expect(await yard.status('queue')).toMatchObject({ state: 'running', reason: why, troubles: [why] });
    expect(await yard.does('status', 'queue')).toContain(`queue: running: ${why}\n`);
    expect(await yard.does('list')).toContain(why);
    await add(yard, 'sick', 'patient');
    worker(yard, 'sick', SAY);
    await daemon.said('"did patient"');
    await until(async () => (await yard.status('queue')).troubles.length === 0);
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0 });
  });

  test('that blocks its process, dies or exits keeps nobody else from working, nor from stopping', async ({
    yard,
  }) => {
    worker(yard, 'anpr', SAY);
    worker(yard, 'block', 'log.info("blocks"); for (;;);');
    worker(yard, 'die', 'process.kill(process.pid, "SIGKILL");');
    worker(yard, 'exit', 'process.exit(0);');
    configure(yard, 'anpr, block, die, exit', 'stopDeadline = 1s\ncrashLimit = 100');
    const daemon = await up(yard, 'anpr', 'block', 'die', 'exit');
    for (const queue of ['block', 'die', 'exit']) await add(yard, queue);
    await daemon.said('"blocks"');
    await daemon.said(/died|was killed|SIGKILL/);
    await add(yard, 'anpr', 'plate');
    await daemon.said('"did plate"');
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0 });
    // Those that block end with their parent, a moment later.
    await until(() => yard.running().length === 0);
  });

  test('fails the iteration only where no other works', async ({ yard }) => {
    worker(yard, 'sick', '', 'start() { throw new Error("no license"); }');
    configure(yard, 'sick');
    const daemon = yard.foreground('queue');
    await daemon.said(/iteration \d+ failed: no queue is being drained; sick: .*no license/);
    daemon.process.kill('SIGTERM');
    await daemon.ended;
  });
});

describe('a reload', () => {
  test('takes up types that were added, and drops those that are gone', async ({ yard }) => {
    for (const type of ['anpr', 'mail', 'old']) worker(yard, type, SAY);
    configure(yard, 'anpr, old');
    const daemon = await up(yard, 'anpr', 'old');
    configure(yard, 'anpr, mail:3');
    daemon.process.kill('SIGHUP');
    await daemon.said('"working on mail"');
    await add(yard, 'mail', 'letter');
    await daemon.said('"did letter"');
    await until(() => members(yard, daemon).length === 2);
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(0);
    expect(stderr.match(/"working on old"/g)).toHaveLength(1);
    expect(stderr.match(/"working on anpr"/g)?.length).toBeGreaterThan(0);
  });

  test('with a type that is not there is refused, and disturbs no worker', async ({ yard }) => {
    worker(yard, 'anpr', SAY);
    configure(yard, 'anpr');
    const daemon = await up(yard, 'anpr');
    const before = members(yard, daemon);
    configure(yard, 'anpr, mial');
    daemon.process.kill('SIGHUP');
    await daemon.said(/is refused: \[daemon\] queues: no worker of type .*mial.*the old one stays/);
    expect(members(yard, daemon)).toEqual(before);
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0 });
  });
});

describe('a stop', () => {
  test('lets handlers finish within the deadline', async ({ yard }) => {
    worker(
      yard,
      'slow',
      'log.info("begins"); await new Promise((r) => setTimeout(r, 700)); log.info("ends");',
    );
    configure(yard, 'slow', 'stopDeadline = 20s');
    const daemon = await up(yard, 'slow');
    await add(yard, 'slow');
    await daemon.said('"begins"');
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect([code, stderr]).toEqual([0, expect.stringContaining('"ends"')]);
    expect(await yard.bench.json('status', 'slow')).toMatchObject({ processed: 1 });
  });

  test('aborts those that do not before the deadline is over, and their messages come back untried', async ({
    yard,
  }) => {
    worker(
      yard,
      'long',
      'log.info("begins, to end in " + process.env.CODA_STOP_DEADLINE); await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));',
    );
    configure(yard, 'long', 'stopDeadline = 4s');
    const daemon = await up(yard, 'long');
    await add(yard, 'long');
    await daemon.said('"begins, to end in 3000ms"');
    const told = performance.now();
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect([code, stderr]).toEqual([0, expect.stringContaining('back in line')]);
    expect(stderr).not.toContain('is not waited for');
    expect(performance.now() - told).toBeGreaterThan(2900);
    expect(await yard.bench.json('status', 'long')).toMatchObject({
      counts: { ready: 1, claimed: 0 },
      messagesToProcess: 1,
    });
  });

  test('by force has all handlers aborted now', async ({ yard }) => {
    worker(
      yard,
      'long',
      'log.info("begins"); await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));',
    );
    configure(yard, 'long', 'stopDeadline = 1h');
    const daemon = await up(yard, 'long');
    await add(yard, 'long');
    await daemon.said('"begins"');
    daemon.process.kill('SIGTERM');
    await daemon.said('stopping');
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 1 });
    await until(() => yard.running().length === 0);
    expect(await yard.bench.json('status', 'long')).toMatchObject({ counts: { ready: 1, claimed: 0 } });
  });
});

test('a process that cannot be replaced is told by status, until it can', async ({ yard }) => {
  worker(yard, 'anpr', SAY);
  configure(yard, 'anpr');
  const daemon = await up(yard, 'anpr');
  const [member = 0] = members(yard, daemon);
  worker(yard, 'anpr', SAY, 'start() { throw new Error("no license"); }');
  process.kill(member, 'SIGKILL');
  await until(async () => (await yard.status('queue')).reason.includes('no license'));
  expect((await yard.status('queue')).reason).toMatch(/^anpr lacks a process: .*no license/);
  worker(yard, 'anpr', SAY);
  await until(async () => (await yard.status('queue')).reason === '');
  daemon.process.kill('SIGTERM');
  expect(await daemon.ended).toMatchObject({ code: 0 });
});

test('a process that is replaced goes by the configuration in force, whatever the file says by then', async ({
  yard,
}) => {
  worker(yard, 'anpr', 'log.info("did " + message.data + " within " + process.env.CODA_LEASE);');
  configure(yard, 'anpr', 'lease = 1234ms');
  const daemon = await up(yard, 'anpr');
  const [member = 0] = members(yard, daemon);
  yard.bench.file('config.ini', '[workre]\nlease = 2s\n');
  process.kill(member, 'SIGKILL');
  await daemon.said(/was ended by SIGKILL/);
  expect(
    (await yard.bench.queue('add', 'anpr', '"plate"', '--config', '/dev/null', '--cache-root', 'queues'))
      .code,
  ).toBe(0);
  await daemon.said('"did plate within 1234ms"');
  daemon.process.kill('SIGTERM');
  const { code, stderr } = await daemon.ended;
  expect([code, stderr]).toEqual([0, expect.not.stringContaining('CONFIG_INVALID')]);
});

test('when the daemon is killed, its workers end by themselves; who is started again goes on', async ({
  yard,
}) => {
  worker(yard, 'anpr', SAY);
  configure(yard, 'anpr');
  const daemon = await up(yard, 'anpr');
  const [member = 0] = members(yard, daemon);
  expect(factsOf(member)).toBeDefined();
  daemon.process.kill('SIGKILL');
  await daemon.ended;
  await until(() => [undefined, 'Z'].includes(stateOf(member)));
  const next = await up(yard, 'anpr');
  await add(yard, 'anpr', 'plate');
  await next.said('"did plate"');
  expect(await yard.status('queue')).toMatchObject({ state: 'running', crashes: 1 });
  next.process.kill('SIGTERM');
  expect(await next.ended).toMatchObject({ code: 0 });
});
