/** `queue repair`, as its users run it. */
import { once } from 'node:events';
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench, parsedLines } from './commands.ts';
import { Terminal } from './terminal.ts';

let bench: Bench;

beforeEach(async () => {
  bench = new Bench();
  await bench.json('create', 'jobs');
  for (const n of [1, 2, 3]) await bench.json('add', 'jobs', JSON.stringify({ n, mark: `mark-${n}` }));
});

afterEach(() => bench.close());

const folder = (): string => join(bench.folder, 'queues', 'jobs');

/** Changes a byte in the payload of the second message, where it is still there. */
function spoil(): void {
  for (const name of readdirSync(folder())) {
    const path = join(folder(), name);
    const bytes = readFileSync(path);
    const at = bytes.indexOf('mark-2');
    if (at < 0 || !name.endsWith('.journal')) continue;
    bytes[at]! ^= 1;
    writeFileSync(path, bytes);
  }
}

async function messages(): Promise<unknown[]> {
  const { stdout } = await bench.queue('find', 'jobs', '--json');
  return parsedLines(stdout).map((message) => (message as { data: { n: number } }).data.n);
}

test('at a terminal it says how much is damaged, and where that is listed, before it asks', async () => {
  spoil();
  const terminal = Terminal.command('queue', ['repair', 'jobs'], { cwd: bench.folder });
  try {
    await terminal.shows('1 place is damaged in its files: queue verify jobs lists what');
    await terminal.shows('Repair jobs? It keeps 2 messages (2 ready) and loses 1 message. [y/N]');
    terminal.type('n\r');
    expect((await terminal.ended).code).toBe(1);
  } finally {
    await terminal.close();
  }
});

test('says so when there is nothing to repair', async () => {
  expect(await bench.queue('repair', 'jobs')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('sound') as string,
  });
  expect(existsSync(join(bench.folder, 'queues', '.quarantine'))).toBe(false);
});

test('verify and status name it, it says what it would do, does it, and keeps the old files until they are discarded', async () => {
  spoil();
  const verified = await bench.queue('verify', 'jobs');
  expect(verified).toMatchObject({ code: 1 });
  expect(verified.stdout).toContain('queue repair jobs --dry-run');
  expect((await bench.queue('status', 'jobs')).stdout).toContain('queue repair jobs --dry-run');

  const plan = await bench.queue('repair', 'jobs', '--dry-run');
  expect(plan).toMatchObject({ code: 0, stderr: '' });
  expect(plan.stdout).toContain('keeps 2 messages (2 ready)');
  expect(plan.stdout).toContain('loses 1 message');
  expect(plan.stdout).toContain('1 place is damaged in its files: queue verify jobs lists what');
  expect((await bench.queue('verify', 'jobs')).code).toBe(1);

  const refused = await bench.queue('repair', 'jobs');
  expect(refused).toMatchObject({ code: 64, stdout: '' });
  expect(refused.stderr).toContain('--yes');

  const report = (await bench.json('repair', 'jobs', '--yes')) as { quarantine: string };
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, messages: 2, lost: [{ count: 1 }] });
  expect(await bench.queue('verify', 'jobs')).toMatchObject({ code: 0 });
  expect((await bench.queue('status', 'jobs')).stdout).not.toContain('queue repair');
  expect(await messages()).toEqual([1, 3]);
  expect((await bench.queue('list')).stdout).not.toContain('quarantine');

  expect(existsSync(join(report.quarantine, 'old', '00000001.journal'))).toBe(true);
  expect((await bench.queue('repair', 'jobs', '--discard', '--dry-run')).stdout).toContain(
    'would discard 1 copy',
  );
  expect(existsSync(report.quarantine)).toBe(true);
  expect(await bench.queue('repair', 'jobs', '--discard')).toMatchObject({ code: 64 });
  expect(await bench.json('repair', 'jobs', '--discard', '--yes')).toMatchObject({
    discarded: [{ path: report.quarantine }],
  });
  expect(existsSync(report.quarantine)).toBe(false);
  expect(await bench.queue('repair', 'jobs', '--discard')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('nothing') as string,
  });
});

test('says where a link led that was put in the place of the newest file, and that what was in it is gone', async () => {
  const [file, moved] = ['00000001.journal', join(bench.folder, 'queues', 'moved')];
  renameSync(join(folder(), file), moved);
  symlinkSync('../moved', join(folder(), file));
  const verified = await bench.queue('verify', 'jobs');
  expect(verified).toMatchObject({ code: 1 });
  expect(verified.stdout).toContain(`${file}, bytes 0 to 0: a link to ${moved} is in its place`);
  expect((await bench.queue('status', 'jobs')).stderr).toContain(
    `opening ${file} failed because there is a link`,
  );
  const { stdout } = await bench.queue('repair', 'jobs', '--yes');
  expect(stdout).toContain(`and what was in ${file}`);
  expect(stdout).toContain(`put aside ${file}: a link to ${moved}`);
  const again = await bench.queue('repair', 'jobs');
  expect(again.stdout).toMatch(/sound, nothing to repair\nwhat earlier repairs have lost: .*report\.txt/);
});

test('waits for the end of the workers: it names them, and changes nothing', async () => {
  const worker = bench.start('queue-worker', ['jobs', '--exec', 'sleep 600']);
  const claimed = async (): Promise<number> =>
    ((await bench.json('status', 'jobs')) as { counts: { claimed: number } }).counts.claimed;
  await expect.poll(claimed, { timeout: 30_000 }).toBe(1);
  spoil();
  const refused = await bench.queue('repair', 'jobs', '--yes');
  expect(refused.code).toBe(75);
  expect(refused.stderr).toContain(`process ${worker.process.pid}`);
  expect(existsSync(join(bench.folder, 'queues', '.quarantine'))).toBe(false);
  worker.process.kill('SIGKILL');
  await worker.ended;
  expect(await bench.json('repair', 'jobs', '--yes')).toMatchObject({ outcome: 'repaired', sound: true });
});

describe('repairs of one queue', () => {
  test('take turns: of several at once one does it, the others find it done', async () => {
    spoil();
    const reports = await Promise.all([1, 2, 3].map(() => bench.json('repair', 'jobs', '--yes')));
    const outcomes = reports.map((report) => (report as { outcome: string }).outcome);
    expect(outcomes.toSorted()).toEqual(['repaired', 'sound', 'sound']);
    expect(readdirSync(join(bench.folder, 'queues', '.quarantine'))).toHaveLength(1);
    expect(readdirSync(join(bench.folder, 'queues')).sort()).toEqual(['.quarantine', 'jobs']);
  });

  test('that are killed leave a queue that the next one repairs', async () => {
    const root = join(bench.folder, 'queues');
    for (let round = 0; round < 8; round++) {
      spoil();
      const started = bench.start('queue', ['repair', 'jobs', '--yes']);
      // Its lock is the first that it makes; from then on it is a matter of milliseconds.
      const over = new AbortController();
      await Promise.race([appearance(root, '.repair-jobs', over.signal), started.ended]);
      over.abort();
      const timer = setTimeout(() => started.process.kill('SIGKILL'), round * 4);
      await started.ended;
      clearTimeout(timer);
      // Else the next one would wait until it is old.
      rmSync(join(root, '.repair-jobs'), { recursive: true, force: true });
      expect((await messages()).filter((n) => n !== 2)).toEqual([1, 3]);
    }
    spoil();
    await bench.json('repair', 'jobs', '--yes');
    expect((await messages()).filter((n) => n !== 2)).toEqual([1, 3]);
    expect(await bench.queue('verify', 'jobs')).toMatchObject({ code: 0 });
  });
});

/** Resolves when the folder has an entry of that name, or the signal fires. */
async function appearance(folder: string, name: string, signal: AbortSignal): Promise<void> {
  const watcher = watch(folder);
  try {
    while (!existsSync(join(folder, name))) await once(watcher, 'change', { signal });
  } catch {
    // It need not appear any more.
  } finally {
    watcher.close();
  }
}

test('names a queue that there is for one that there is not', async () => {
  const refused = await bench.queue('repair', 'job');
  expect(refused).toMatchObject({ code: 69, stdout: '' });
  expect(refused.stderr).toContain('did you mean "jobs"');
});
