/** A handle that lags: its segment was sealed by a record that has rotted since, and while it looks for the newest one, that is left, too. */
import { expect, test } from 'vitest';
import type { Backend, Queue } from '../../src/backend.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FOLDER = `/srv/${Q}`;
const FIRST = `${FOLDER}/00000001.journal`;

const machine = new SimMachine(new Seeded(1));

function open(ports: Ports = machine.process()): Promise<Backend> {
  return openOn(machine, { segmentBytes: 3000, ports });
}

function segments(): string[] {
  return machine.fs
    .list(FOLDER)
    .filter((name) => name.endsWith('.journal'))
    .sort();
}

/** Adds until there is another segment. */
async function fill(queue: Queue): Promise<void> {
  const last = segments().at(-1);
  while (segments().at(-1) === last) await queue.add([messageOf('x'.repeat(400))]);
}

async function drain(queue: Queue): Promise<void> {
  for (;;) {
    const claims = await queue.claim(100, 60_000);
    if (claims.length === 0) return;
    for (const claim of claims) await queue.settle(claim, { type: 'complete' });
  }
}

test('is answered all the same', async () => {
  const backend = await open();
  // What is unique has to be looked up in the older segments.
  await backend.create(Q, { uniqueAlias: true });
  const others = await backend.open(Q);
  const ports = machine.process();
  const syncFolder = ports.fs.syncFolder.bind(ports.fs);
  let meanwhile: (() => Promise<void>) | undefined;
  ports.fs.syncFolder = async (path) => {
    const run = meanwhile;
    meanwhile = undefined;
    await run?.();
    return syncFolder(path);
  };
  const late = await (await open(ports)).open(Q);
  await late.status();
  await fill(others);
  await drain(others);
  await fill(others);
  const seal = Buffer.from(machine.fs.contents(FIRST)).indexOf('"op":"seal"');
  machine.fs.corrupt(FIRST, seal + 3, Buffer.from('X'));
  meanwhile = async () => {
    await drain(others);
    await others.add([messageOf('in the third')]);
    await fill(others);
    await drain(others);
    await others.add([messageOf('in the fourth')]);
    while (segments().includes('00000002.journal')) {
      await fill(others);
      await drain(others);
    }
  };
  await late.add([messageOf('late')]);
  const found: unknown[] = [];
  for await (const { data } of others.find({})) found.push(data);
  expect(found).toContain('late');
  expect((await late.status()).counts.ready).toBe(found.length);
});
