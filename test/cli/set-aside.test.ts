/** What commands say of a message that was set aside as failed because its record is damaged. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openManager, otherBoot } from '../support/specimen.ts';
import { Bench } from './commands.ts';

let bench: Bench;
/** Of the message that cannot be read. */
let uuid: string;

/** Twenty messages; the third stands in a segment that is closed, and rots there before its turn comes. */
beforeEach(async () => {
  bench = new Bench();
  const root = join(bench.folder, 'queues');
  // By a process that is no more: a repair waits for those that are.
  await using manager = await openManager(root, { segmentBytes: 2000, ports: otherBoot() });
  await manager.createQueue('jobs');
  const messages = Array.from({ length: 20 }, (_, i) => ({ data: { n: i + 1, mark: `mark-${i + 1}.` } }));
  // One at a time: segments are closed between writes.
  for (const [i, message] of messages.entries()) {
    const added = await manager.addMessage('jobs', message);
    if (i === 2) ({ uuid } = added);
  }
  await manager.close();
  spoil(join(root, 'jobs'), 'mark-3.');
  for (let turn = 1; turn <= 4; turn++) await bench.queue('get', 'jobs');
});

afterEach(() => bench.close());

function spoil(folder: string, mark: string): void {
  const [first = ''] = readdirSync(folder).filter((name) => name.endsWith('.journal'));
  const path = join(folder, first);
  const bytes = readFileSync(path);
  const at = bytes.indexOf(mark);
  expect(at).toBeGreaterThan(0);
  bytes[at]! ^= 1;
  writeFileSync(path, bytes);
}

test('status says that it cannot be read, and sends people to repair, not to find', async () => {
  const { stdout } = await bench.queue('status', 'jobs');
  expect(stdout).toContain('failed 1\n! 1 failed message cannot be read\n  queue repair jobs --dry-run\n');
  expect(stdout).not.toContain('--state failed');
});

test('find says that not all is listed, and verify, to which it sends people, names it', async () => {
  for (const args of [['--state', 'failed'], ['--json'], []]) {
    const { code, stderr } = await bench.queue('find', 'jobs', ...args);
    expect(stderr).toContain('1 damaged record: what cannot be read is not listed; see queue verify jobs\n');
    expect(code).toBe(0);
  }
  expect((await bench.queue('verify', 'jobs')).stdout).toContain(`message ${uuid}`);
  expect((await bench.queue('repair', 'jobs', '--dry-run')).stdout).toContain(uuid);
});

test('who asks for it by name is told where to look', async () => {
  for (const verb of ['show', 'retry']) {
    const { code, stderr } = await bench.queue(verb, 'jobs', uuid);
    expect(stderr).toContain(
      '`queue find jobs` lists what is there, `queue verify jobs` names what cannot be read (MESSAGE_NOT_FOUND)',
    );
    expect(code).toBe(1);
  }
});

test('after the repair nothing is said of it', async () => {
  expect(await bench.queue('repair', 'jobs', '--yes')).toMatchObject({ code: 0, stderr: '' });
  expect((await bench.queue('status', 'jobs')).stdout).toContain('nothing is wrong');
  expect((await bench.queue('find', 'jobs', '--state', 'failed')).stderr).toBe('no messages match\n');
  expect((await bench.queue('show', 'jobs', uuid)).stderr).not.toContain('verify');
});
