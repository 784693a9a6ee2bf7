/** However much of a segment has rotted, who meets it passes over that and goes on. */
import { expect, test } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FIRST = `/srv/${Q}/00000001.journal`;
/** More than a call takes arguments. */
const RANGES = 150_000;

async function open(machine: SimMachine, segmentBytes: number): Promise<Queue> {
  const backend = await openOn(machine, { segmentBytes });
  await backend.create(Q, {});
  return backend.open(Q);
}

test('a segment of which many lines have rotted since its successor was made is left for that', async () => {
  const machine = new SimMachine(new Seeded(1));
  const maker = await open(machine, 2 * RANGES);
  const follower = await open(machine, 1e9);
  await follower.status();
  const json = JSON.stringify('y'.repeat(3 * RANGES));
  const message = { alias: '', retries: 0, disabled: false, username: '' };
  await maker.add([{ json, ...message }]);
  const at = machine.fs.contents(FIRST).indexOf('yy');
  machine.fs.corrupt(FIRST, at, Buffer.from('x\n'.repeat(RANGES)));
  await follower.add([{ json: '"on"', ...message }]);
  expect((await follower.status()).counts).toMatchObject({ ready: 2 });
});
