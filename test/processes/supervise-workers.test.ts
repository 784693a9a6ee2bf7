/** Workers as children of a supervisor: a rolling restart under load, and numbers that follow what waits. */
import { describe, expect } from 'vitest';
import { overseerTest as test, type Overseer } from './overseer.ts';
import { until } from './stage.ts';

/** Adds messages with the numbers from `from` on. */
async function add(yard: Overseer, queue: string, from: number, count: number): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) => `{"data":${from + i}}\n`).join('');
  const { code, stderr } = await yard.bench.run('queue', ['add', queue, '--ndjson', '-'], lines);
  if (code !== 0) throw new Error(stderr);
}

interface Counts {
  processed: number;
  messagesToProcess: number;
  counts: { failed: number };
}

function status(yard: Overseer, queue: string): Promise<Counts> {
  return yard.bench.json('status', queue) as Promise<Counts>;
}

test('rolling restarts under load lose no message, process none twice, and leave nobody alone with the work', async ({
  yard,
}) => {
  yard.worker(
    'load',
    'await new Promise((resolve) => setTimeout(resolve, message.data % 20)); note(message.uuid + " " + message.data);',
  );
  yard.configure('[process:load]\nworker = load\ninstances = 3\nconcurrency = 4\n');
  const supervisor = await yard.supervise();
  const first = await yard.up('load', 3);
  const BATCH = 200;
  const ROUNDS = 4;
  const over = new AbortController();
  let fewest = 3;
  const watching = (async () => {
    while (!over.signal.aborted) {
      const up = (await yard.children('load')).filter(({ state }) => state === 'running').length;
      fewest = Math.min(fewest, up);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const adding = (async () => {
    for (let round = 0; round < ROUNDS; round++) await add(yard, 'load', round * BATCH, BATCH);
  })();
  for (let round = 0; round < 2; round++) await yard.ask('POST', '/api/processes/load/restart', {});
  await adding;
  await yard.ask('POST', '/api/processes/load/restart', {});
  over.abort();
  await watching;
  await until(async () => (await status(yard, 'load')).messagesToProcess === 0, 40_000);
  const numbers = yard.noted.map((line) => Number(line.split(' ')[1])).sort((a, b) => a - b);
  expect(numbers).toEqual(Array.from({ length: BATCH * ROUNDS }, (_, i) => i));
  expect(await status(yard, 'load')).toMatchObject({ processed: BATCH * ROUNDS, counts: { failed: 0 } });
  expect(fewest).toBeGreaterThanOrEqual(2);
  expect((await yard.up('load', 3)).filter((pid) => first.includes(pid))).toEqual([]);
  expect(await yard.ended(supervisor)).toBe(0);
  expect(yard.running()).toEqual([]);
}, 120_000);

test('a stop of all of it under load loses nothing either', async ({ yard }) => {
  yard.worker('load', 'await new Promise((resolve) => setTimeout(resolve, 5)); note(message.data);');
  yard.configure('[process:load]\nworker = load\ninstances = 2\nconcurrency = 4\n');
  let supervisor = await yard.supervise();
  await yard.up('load', 2);
  await add(yard, 'load', 0, 400);
  await until(() => yard.noted.length > 50);
  expect(await yard.ended(supervisor)).toBe(0);
  const done = yard.noted.length;
  expect(await status(yard, 'load')).toMatchObject({ processed: done, messagesToProcess: 400 - done });
  supervisor = await yard.supervise();
  await until(async () => (await status(yard, 'load')).messagesToProcess === 0, 40_000);
  expect(yard.noted.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 400 }, (_, i) => i));
  expect(await yard.ended(supervisor)).toBe(0);
}, 120_000);

describe('autoscale', () => {
  test('follows the backlog up, and down when it is quiet, and ends nobody who is at work', async ({
    yard,
  }) => {
    // The gate is a file: while it is there, work goes on.
    yard.worker(
      'slow',
      `const { existsSync } = await import('node:fs');
      while (!existsSync(${JSON.stringify(yard.folder)} + '/open')) await new Promise((resolve) => setTimeout(resolve, 20));
      note(message.data);`,
    );
    const text = (instances: string): string =>
      `[process:slow]\nworker = slow\ninstances = ${instances}\nscaleBacklog = 10\nscaleAge = 3s\n`;
    yard.configure(text('1-3'));
    const supervisor = await yard.supervise();
    await yard.up('slow');
    await add(yard, 'slow', 0, 40);
    const pids = await yard.up('slow', 3);
    await supervisor.said('messages wait');
    // Other limits are no reason to begin again with the least.
    yard.configure(text('2-3'));
    supervisor.process.kill('SIGHUP');
    await supervisor.said('goes on with the configuration read again');
    expect(await yard.up('slow', 3)).toEqual(pids);
    yard.bench.file('open', '');
    await until(() => yard.noted.length === 40);
    expect(await yard.up('slow', 2)).toEqual(pids.slice(0, 2));
    expect(yard.noted.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect((await yard.processes())[0]?.children.every(({ lastEnd }) => lastEnd?.failed !== true)).toBe(true);
    expect(await yard.ended(supervisor)).toBe(0);
    expect(yard.running()).toEqual([]);
  }, 120_000);

  test('starts the first child for the first message, another for one that waits too long, and none at rest', async ({
    yard,
  }) => {
    yard.worker(
      'slow',
      `const { existsSync } = await import('node:fs');
      while (!existsSync(${JSON.stringify(yard.folder)} + '/open')) await new Promise((resolve) => setTimeout(resolve, 20));`,
    );
    yard.configure('[process:slow]\nworker = slow\ninstances = 0-2\nscaleBacklog = 1000\nscaleAge = 1s\n');
    const supervisor = await yard.supervise();
    expect(await yard.children('slow')).toEqual([]);
    expect((await yard.bench.queue('create', 'slow')).code).toBe(0);
    await add(yard, 'slow', 0, 3);
    await yard.up('slow', 2);
    await supervisor.said('a message has waited for');
    yard.bench.file('open', '');
    await until(async () => (await yard.children('slow')).length === 0);
    expect((await status(yard, 'slow')).processed).toBe(3);
    expect(await yard.ended(supervisor)).toBe(0);
    expect(yard.running()).toEqual([]);
  }, 120_000);

  test('has a range, beyond which nobody scales by hand', async ({ yard }) => {
    yard.worker('calm', '');
    yard.configure('[process:calm]\nworker = calm\ninstances = 1-2\n');
    const supervisor = await yard.supervise();
    await yard.up('calm');
    for (const instances of [0, 3]) {
      await expect(yard.ask('POST', '/api/processes/calm/scale', { instances })).rejects.toThrow(
        `422 {"error":{"code":"INVALID_ARGUMENT","message":"expected 1 to 2 children of calm, received ${instances}"}}`,
      );
    }
    await yard.ask('POST', '/api/processes/calm/scale', { instances: 2 });
    await yard.up('calm', 2);
    expect(await yard.ended(supervisor)).toBe(0);
  });
});

test('a worker that there is not is told by its reason, though its parent alone knows that it has failed', async ({
  yard,
}) => {
  yard.configure('[process:ghost]\nworker = ghost\nrestartLimit = 1\n');
  const supervisor = await yard.supervise();
  await until(async () => (await yard.children('ghost'))[0]?.state === 'failed');
  const [ghost] = await yard.children('ghost');
  expect(ghost?.lastEnd?.why).toMatch(/it cannot work: no worker of type "ghost"/);
  expect(await yard.ended(supervisor)).toBe(0);
});
