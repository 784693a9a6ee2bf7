/**
 * A repair that ends before it is done, at each change that it makes to files in turn: by its death, or because the power fails.
 * Afterwards the queue is the old one or the new one, and a second repair ends what the first has begun.
 */
import { describe, expect, test } from 'vitest';
import { openCache } from '../../src/cache/backend.ts';
import type { FileSystem, Ports } from '../../src/cache/ports.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { QueueError } from '../../src/errors.ts';
import { recordsIn } from '../support/specimen.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { errno, type Loss } from '../support/sim-fs.ts';

const isSegment = (name: string): boolean => name.endsWith('.journal');
const ROOT = '/srv/queues';
const FOLDER = `${ROOT}/jobs`;

function open(ports: Ports) {
  const limits = { syncInterval: 50, fileMode: 0o600, keepOutcomes: 20, crashLimit: 3, segmentBytes: 1500 };
  return openCache({ cacheRoot: ROOT, durability: 'always', ports, ...limits });
}

type Contents = Map<string, string>;

/** Uuids and payloads of the queue's messages. */
async function contentsOf(ports: Ports): Promise<Contents> {
  const backend = await open(ports);
  try {
    const queue = await backend.open('jobs');
    const found: Contents = new Map();
    for await (const { uuid, data } of queue.find({})) found.set(uuid, JSON.stringify(data));
    return found;
  } finally {
    await backend.close();
  }
}

type Damage = 'messages' | 'heads' | 'a head whose predecessor is spent';

interface Damaged {
  machine: SimMachine;
  /** Of all messages that were ever added. */
  added: Contents;
}

/** A queue of several segments, with messages in all of them and some that have ended; then bytes are changed. */
async function build(damage: Damage): Promise<Damaged> {
  const machine = new SimMachine(new Seeded(7));
  const ports = machine.process();
  const backend = await open(ports);
  await backend.create('jobs', {});
  const queue = await backend.open('jobs');
  const added: Contents = new Map();
  const add = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const json = JSON.stringify({ i, text: 'x'.repeat(100) });
      const [message] = await queue.add([{ json, alias: '', retries: 1, disabled: false, username: '' }]);
      added.set(message!.uuid, json);
    }
  };
  for (let i = 0; i < 40; i++) {
    await add(1);
    if (i % 5 !== 4) continue;
    const claims = await queue.claim(4, 60_000);
    await queue.settle(claims[0]!, { type: 'complete' });
    await queue.settle(claims[1]!, { type: 'release' });
    const error = { at: new Date(0).toISOString(), attempt: 1, name: 'Error', message: 'no' };
    await queue.settle(claims[2]!, { type: 'fail', error });
  }
  const { fs } = machine;
  const newest = (): string => fs.list(FOLDER).filter(isSegment).sort().at(-1)!;
  if (damage === 'a head whose predecessor is spent') {
    for (let rotations = 0; rotations < 2;) {
      const before = newest();
      await add(20);
      await queue.change({ type: 'purge' });
      if (newest() !== before) rotations++;
    }
    await add(3);
  }
  await backend.close();
  machine.dead.add(ports.self.pid);
  const files = fs.list(FOLDER).filter(isSegment).sort();
  const spoil = (file: string, op: string): void => {
    const path = `${FOLDER}/${file}`;
    const records = recordsIn(fs.contents(path)).filter(({ header }) => header.op === op);
    const victim = records[records.length >> 1]!;
    fs.corrupt(path, victim.start + 40, Buffer.from('#'));
  };
  if (damage === 'messages') for (const file of [files[0]!, files.at(-2)!, files.at(-1)!]) spoil(file, 'add');
  else spoil(files.at(-1)!, 'touched');
  if (damage === 'heads') spoil(files.at(-2)!, 'ready');
  return { machine, added };
}

const CHANGES: ReadonlySet<keyof FileSystem> = new Set([
  'write',
  'sync',
  'syncFolder',
  'rename',
  'remove',
  'makeFolder',
]);

const OPTIONS = { keepOutcomes: 20 };

/** Lets a repair work until its change number `last`; true when it was done before. */
async function repairUntil(
  { fs }: SimMachine,
  ports: Ports,
  last: number,
  end: () => void,
): Promise<boolean> {
  let operations = 0;
  fs.onOperation = (operation) => {
    // Between two changes it does not matter when.
    if (CHANGES.has(operation) && operations++ === last) end();
    if (operations > last) throw errno('EIO', 'the end');
  };
  try {
    await repairQueue(FOLDER, { ...OPTIONS, ports });
    return operations <= last;
  } catch {
    return false;
  } finally {
    fs.onOperation = undefined;
  }
}

/** Nothing that the repair should keep is lost, nothing is there that was not added. */
function expectKept(found: Contents, expected: Contents, added: Contents): void {
  for (const [uuid, json] of found) expect(added.get(uuid)).toBe(json);
  const missing = [...expected.keys()].filter((uuid) => !found.has(uuid));
  expect(missing).toEqual([]);
}

async function expectOldOrNew(
  machine: SimMachine,
  damage: Damage,
  expected: Contents,
  added: Contents,
): Promise<void> {
  const ports = machine.process();
  const found = await contentsOf(ports).catch((error: unknown) => error);
  // With both heads damaged the old one could not be opened.
  if (damage === 'heads' && found instanceof QueueError && found.code === 'JOURNAL_CORRUPT')
    expect(found.message).toContain('head');
  else if (found instanceof Error) throw found;
  else expectKept(found as Contents, expected, added);
  machine.dead.add(ports.self.pid);
}

async function expectRepaired(machine: SimMachine, expected: Contents, added: Contents): Promise<void> {
  const ports = machine.process();
  await repairQueue(FOLDER, { ...OPTIONS, ports });
  expect(await verifyQueue(FOLDER, ports)).toMatchObject({ sound: true });
  const found = await contentsOf(ports);
  expectKept(found, expected, added);
  expect(machine.fs.openFiles).toEqual([]);
}

/** What a repair that nobody disturbs leaves. */
async function undisturbed(damage: Damage): Promise<Contents> {
  const { machine } = await build(damage);
  const ports = machine.process();
  expect(await repairQueue(FOLDER, { ...OPTIONS, ports })).toMatchObject({
    outcome: 'repaired',
    sound: true,
  });
  return contentsOf(ports);
}

const LOSSES: Loss[] = ['drop', 'cut', 'zero', 'pages'];

describe.each<Damage>(['messages', 'heads', 'a head whose predecessor is spent'])(
  'a repair of %s',
  (damage) => {
    test('may die at any moment', async () => {
      const expected = await undisturbed(damage);
      for (let last = 0, done = false; !done; last++) {
        const { machine, added } = await build(damage);
        const ports = machine.process();
        done = await repairUntil(machine, ports, last, () => undefined);
        machine.dead.add(ports.self.pid);
        try {
          await expectOldOrNew(machine, damage, expected, added);
          await expectRepaired(machine, expected, added);
        } catch (error) {
          throw new Error(`at change ${last}`, { cause: error });
        }
      }
    });

    test('may lose the power at any moment', async () => {
      const expected = await undisturbed(damage);
      for (let last = 0, done = false; !done; last++) {
        const { machine, added } = await build(damage);
        const loss = LOSSES[last % LOSSES.length]!;
        let after: SimMachine | undefined;
        const cut = (): void => void (after ??= machine.powerCut(loss));
        done = await Promise.race([
          repairUntil(machine, machine.process(), last, cut),
          // What waits for the clock of a machine that is off waits for ever.
          until(() => after !== undefined).then(() => false),
        ]);
        after ??= machine.powerCut(loss);
        try {
          await expectOldOrNew(after, damage, expected, added);
          await expectRepaired(after, expected, added);
        } catch (error) {
          throw new Error(`at change ${last}, loss ${loss}`, { cause: error });
        }
      }
    });
  },
);

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => setImmediate(resolve));
}
