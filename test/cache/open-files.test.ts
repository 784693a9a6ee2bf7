/** A closed handle holds no file open, whatever was refused to it before, and whatever is still being flushed. */
import { expect, test } from 'vitest';
import type { Backend, NewMessage } from '../../src/backend.ts';
import type { FileSystem } from '../../src/cache/ports.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { openFilesOf } from '../support/open-files.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FOLDER = `/srv/${Q}`;
const NOTHING_ELSE = { alias: '', retries: 1, disabled: false, username: '' };

function message(data: unknown): NewMessage {
  return { json: JSON.stringify(data), ...NOTHING_ELSE };
}

/** A machine, and the files that are open on it. */
function watched(): { machine: SimMachine; files: Map<number, string> } {
  const machine = new SimMachine(new Seeded(1));
  const files = openFilesOf(machine);
  return { machine, files };
}

function backendOn(
  machine: SimMachine,
  segmentBytes: number,
  durability: 'always' | 'interval',
): Promise<Backend> {
  return openOn(machine, { durability, syncInterval: 5, segmentBytes });
}

/** Everything that opens a file, by two processes; what is refused is left, and the next thing done. */
async function work(machine: SimMachine): Promise<void> {
  const still = async (call: () => Promise<unknown>): Promise<void> => {
    try {
      await call();
    } catch {
      // Refused.
    }
  };
  const backends: Backend[] = [];
  for (let i = 0; i < 2; i++) {
    await still(async () => void backends.push(await backendOn(machine, 400, 'always')));
    await still(() => backends.at(-1)!.create(Q, { uniqueAlias: true }));
  }
  for (let round = 0; round < 3; round++) {
    for (const [i, backend] of backends.entries()) {
      await still(async () => {
        const queue = await backend.open(Q);
        const added = queue.add([message(`${round}, ${i}`), { ...message('twin'), alias: 'a' }]);
        await still(() => added);
        const uuid = await added.then(
          ([first]) => first!.uuid,
          () => '',
        );
        await still(() => queue.update(uuid, { json: '"anew"' }));
        await still(async () => {
          const [claim] = await queue.claim(1, 1000);
          if (claim) await queue.settle(claim, { type: round === 1 ? 'complete' : 'release' });
        });
        await still(async () => {
          for await (const found of queue.find({})) void found;
        });
        await still(() => queue.inspect({ uuid }));
        await still(() => queue.take());
        if (round === 2) await queue.close();
      });
      await still(() => backend.exists(Q));
    }
    await still(() => verifyQueue(FOLDER, machine.process()));
  }
  if (backends.length > 0) await still(() => backends[0]!.destroy(Q));
  for (const backend of backends) await backend.close();
}

/** Prime, so that over the codes and the lengths it is not always the same operations. */
const STRIDE = 47;

test.each([
  ['EIO', 0],
  ['EMFILE', 7],
  ['ENOSPC', 14],
])(
  'whichever operation is refused with %s, and the next ones with it, no file stays open',
  { timeout: 120_000 },
  async (code, from) => {
    const left: string[] = [];
    let operations = Infinity;
    for (let first = from; first < operations; first += STRIDE) {
      const { machine, files } = watched();
      let count = 0;
      machine.fs.onOperation = (operation: keyof FileSystem, path) => {
        const since = count++ - first;
        if (since >= 0 && since <= first % 3) throw errno(code, `${operation} ${path}`);
      };
      await work(machine);
      operations = count;
      if (files.size > 0) left.push(`operation ${first} of ${count}: ${[...files.values()].join(', ')}`);
    }
    expect(left).toEqual([]);
  },
);

// A descriptor was left behind by some seed of the simulation; no later engine has shown the same.
test('closing waits for the flush of a segment that was left because a newer one was found', async () => {
  const { machine, files } = watched();
  const { fs, clock } = machine;
  const late = await backendOn(machine, 1e6, 'interval');
  await late.create(Q, {});
  const queue = await late.open(Q);
  await queue.add([message('flushed late')]);
  const latency = fs.latency;
  fs.latency = () => clock.sleep(60_000);
  // The flush of the interval is under way.
  await clock.sleep(6);
  fs.latency = latency;
  const other = await backendOn(machine, 100, 'always');
  await (await other.open(Q)).add([message('x'.repeat(4000))]);
  await other.close();
  const first = `${FOLDER}/00000001.journal`;
  const seal = fs.contents(first).indexOf('{"op":"seal"');
  fs.corrupt(first, seal + 3, Buffer.from('x'));
  // It does not find the seal, but that there is a newer segment.
  expect((await queue.status()).messagesToProcess).toBe(2);
  expect([...files.values()]).toEqual([first, `${FOLDER}/00000002.journal`]);
  await late.close();
  expect([...files.values()]).toEqual([]);
});
