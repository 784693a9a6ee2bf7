/** A destroyed queue's files go, although its folder and its numbers stay. */
import { beforeEach, expect, test } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { openFilesOf } from '../support/open-files.ts';
import { openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FOLDER = `/srv/${Q}`;

let machine: SimMachine;
let files: Map<number, string>;
let backend: Backend;

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  files = openFilesOf(machine);
  backend = await openOn(machine);
});

async function liveAndDie(): Promise<void> {
  await backend.create(Q, { uniqueAlias: true });
  const queue = await backend.open(Q);
  for (const alias of ['a', 'b'])
    await queue.add([{ json: '1', alias, retries: 0, disabled: false, username: '' }]);
  await queue.close();
  expect(await backend.destroy(Q)).toBe(true);
}

test('a queue that is created and destroyed again and again holds the files of the last two', async () => {
  for (let i = 0; i < 5; i++) await liveAndDie();
  expect(machine.fs.list(FOLDER).sort()).toEqual(['00000005.journal', '00000006.journal', 'reserve']);
  expect([...files.values()]).toEqual([]);
  expect(await verifyQueue(FOLDER, machine.process())).toMatchObject({ damage: [] });
});

test('a queue is destroyed, whether its files can be deleted or not', async () => {
  for (let i = 0; i < 2; i++) await liveAndDie();
  const { fs } = machine;
  let renamed = false;
  fs.onOperation = (operation, path) => {
    renamed ||= operation === 'rename';
    if (!renamed || operation !== 'list') return;
    fs.onOperation = undefined;
    throw errno('EIO', path);
  };
  await liveAndDie();
  expect(backend.lastError()).toMatchObject({ code: 'STORAGE_FAILED' });
  expect(fs.list(FOLDER)).toContain('00000002.journal');
  await liveAndDie();
  expect(fs.list(FOLDER).filter((name) => name.endsWith('.journal'))).toHaveLength(2);
});
