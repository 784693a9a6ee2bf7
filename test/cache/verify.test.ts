/** What `verifyQueue` says of a folder: which bytes, of what kind, of whom. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { verifyQueue, type VerifyReport } from '../../src/cache/verify.ts';
import type { QueueManager } from '../../src/index.ts';
import { repair } from '../support/repairing.ts';
import { written } from '../support/scan.ts';
import { openManager, otherBoot, Q, rotate, Specimen } from '../support/specimen.ts';

let specimen: Specimen;
let manager: QueueManager;

/** Two segments with messages of both waiting. */
beforeEach(async () => {
  specimen = new Specimen();
  manager = await openManager(specimen.root, { segmentBytes: 1000, durability: 'always' });
  await manager.createQueue(Q);
  for (const data of [1, 2, 3]) await manager.addMessage(Q, { data });
  await rotate(manager, specimen);
  for (const data of [4, 5, 6]) await manager.addMessage(Q, { data });
});

afterEach(async () => {
  await manager.close();
  specimen.dispose();
});

function verify(): Promise<VerifyReport> {
  return verifyQueue(specimen.folder);
}

function adds(file: string) {
  return specimen.records(file).filter(({ header }) => header.op === 'add');
}

test('a sound queue has nothing to report, while it is in use, too', async () => {
  const report = await verify();
  expect(report).toMatchObject({ queue: Q, sound: true, damage: [], messages: 6 });
  expect(report.segments.map(({ file }) => file)).toEqual(specimen.segments());
  for (const { file, records, bytes, sealed, torn } of report.segments) {
    expect(bytes).toBe(readFileSync(specimen.path(file)).length);
    expect(records).toBe(specimen.records(file).length);
    expect(sealed).toBe(file !== specimen.segments().at(-1));
    expect(torn).toBe(0);
  }
});

test('it changes nothing in the folder', async () => {
  await manager.close();
  const contents = (): string[] =>
    specimen.segments().map((file) => readFileSync(specimen.path(file), 'latin1'));
  const before = contents();
  specimen.flip(specimen.segments()[0]!, adds(specimen.segments()[0]!)[1]!.end - 2);
  const damaged = contents();
  await verify();
  expect(contents()).toEqual(damaged);
  expect(before).not.toEqual(damaged);
});

describe('a changed byte', () => {
  test('in a message is reported with its bytes and the uuid of the message', async () => {
    const [older] = specimen.segments();
    const victim = adds(older!)[1]!;
    specimen.flip(older!, victim.end - 2);
    const report = await verify();
    expect(report.sound).toBe(false);
    expect(report.damage).toContainEqual(
      expect.objectContaining({
        file: older,
        from: victim.start,
        to: victim.end,
        kind: 'rot',
        acknowledged: true,
        uuid: victim.header['u'],
      }),
    );
  });

  test('in the last record of the writer is rot, although nothing comes behind it', async () => {
    const newest = specimen.segments().at(-1)!;
    const victim = specimen.records(newest).at(-1)!;
    specimen.flip(newest, victim.end - 2);
    const { damage, sound } = await verify();
    expect(sound).toBe(false);
    expect(damage).toContainEqual(
      expect.objectContaining({ file: newest, from: victim.start, to: victim.end, kind: 'rot' }),
    );
  });

  test('in a head is reported as one', async () => {
    const newest = specimen.segments().at(-1)!;
    specimen.flip(newest, specimen.records(newest)[0]!.start + 50);
    const { damage, sound } = await verify();
    expect(sound).toBe(false);
    expect(damage).toContainEqual(expect.objectContaining({ file: newest, kind: 'head' }));
  });
});

test('a record that is not there at all is missed, by the numbers of its writer', async () => {
  const newest = specimen.segments().at(-1)!;
  const bytes = readFileSync(specimen.path(newest));
  const { start, end } = adds(newest)[1]!;
  writeFileSync(specimen.path(newest), Buffer.concat([bytes.subarray(0, start), bytes.subarray(end + 1)]));
  const { damage, sound } = await verify();
  expect(sound).toBe(false);
  expect(damage).toContainEqual(
    expect.objectContaining({
      file: newest,
      kind: 'missing',
      detail: expect.stringContaining('1 record') as string,
    }),
  );
});

test('a segment whose messages are waiting, and that is not there, is missing', async () => {
  const [older] = specimen.segments();
  rmSync(specimen.path(older!));
  const { damage, sound } = await verify();
  expect(sound).toBe(false);
  expect(damage).toContainEqual(expect.objectContaining({ file: older, kind: 'missing' }));
});

test('a file that is put back as it was, after others have gone on without it, is told until a repair', async () => {
  await manager.close();
  const newest = specimen.segments().at(-1)!;
  const bytes = readFileSync(specimen.path(newest));
  specimen.flip(newest, adds(newest)[0]!.start + 70);
  manager = await openManager(specimen.root);
  await manager.queueStatus(Q);
  for (let i = 0; i < 3; i++) await rotate(manager, specimen);
  await manager.close();
  const sealed = readFileSync(specimen.path(newest)).subarray(bytes.length);
  writeFileSync(specimen.path(newest), Buffer.concat([bytes, sealed]));
  const { sound, damage } = await verify();
  expect(sound).toBe(false);
  expect(damage).toEqual([expect.objectContaining({ file: newest, kind: 'missing' })]);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
  expect(await verify()).toMatchObject({ sound: true, damage: [], messages: 6 });
});

test('a head that tells another state than its predecessor leads to is reported', async () => {
  const newest = specimen.segments().at(-1)!;
  const bytes = readFileSync(specimen.path(newest));
  const { start, end, header } = specimen.records(newest)[0]!;
  const payload = JSON.stringify((JSON.parse(bytes.toString('utf8', start, end)) as unknown[])[2]);
  const other = written([{ header: { ...header, digest: (header['digest'] as number) + 1 }, payload }]);
  writeFileSync(
    specimen.path(newest),
    Buffer.concat([bytes.subarray(0, start), other, bytes.subarray(end + 1)]),
  );
  const { damage, sound } = await verify();
  expect(sound).toBe(false);
  expect(damage).toContainEqual(
    expect.objectContaining({
      file: newest,
      kind: 'head',
      detail: expect.stringContaining('differs') as string,
    }),
  );
});

describe('what was cut off', () => {
  test('by the death of its process is counted, and is no damage', async () => {
    const newest = specimen.segments().at(-1)!;
    writeFileSync(
      specimen.path(newest),
      Buffer.concat([readFileSync(specimen.path(newest)), Buffer.from('\n["12345678:000001ff:')]),
    );
    await manager.addMessage(Q, { data: 7 });
    const { damage, sound, segments, messages } = await verify();
    expect({ damage, sound, messages }).toEqual({ damage: [], sound: true, messages: 7 });
    expect(segments.at(-1)).toMatchObject({ torn: 1 });
  });

  test('by a restart of the machine, before it was synced, is told from rot', async () => {
    await manager.close();
    const other = await openManager(specimen.root, { durability: 'os' });
    await other.addMessage(Q, { data: 7 });
    await other.close();
    const newest = specimen.segments().at(-1)!;
    const { start, end } = adds(newest).at(-1)!;
    const bytes = readFileSync(specimen.path(newest));
    bytes.fill(0, start, end);
    writeFileSync(specimen.path(newest), bytes);
    const restarted = await openManager(specimen.root, { ports: otherBoot() });
    await restarted.addMessage(Q, { data: 8 });
    await restarted.close();
    const { damage, sound } = await verify();
    expect(damage.filter(({ kind }) => kind !== 'torn')).toEqual([]);
    expect(sound).toBe(true);
  });
});

test('an index that does not match its segment is said to, and can be no reason to lose anything', async () => {
  await manager.close();
  const [older] = specimen.segments();
  const index = specimen.path(older!.replace('journal', 'index'));
  const bytes = readFileSync(index);
  bytes[bytes.length - 3]! ^= 1;
  writeFileSync(index, bytes);
  expect((await verify()).damage).toEqual([
    expect.objectContaining({ kind: 'index', file: older!.replace('journal', 'index') }),
  ]);
  manager = await openManager(specimen.root);
  expect((await manager.claimMessages(Q, { limit: 9 })).map(({ data }) => data)).toEqual([1, 2, 3, 4, 5, 6]);
});

test('an index of another segment of that number is ignored, sound as it is', async () => {
  await manager.close();
  const other = new Specimen();
  manager = await openManager(other.root, { segmentBytes: 1000 });
  await manager.createQueue(Q);
  for (const data of ['a', 'b']) await manager.addMessage(Q, { data: data.repeat(50) });
  await rotate(manager, other);
  await manager.close();
  const index = specimen.segments()[0]!.replace('journal', 'index');
  writeFileSync(specimen.path(index), readFileSync(other.path(index)));
  other.dispose();
  expect((await verify()).damage).toEqual([expect.objectContaining({ kind: 'index', file: index })]);
  manager = await openManager(specimen.root);
  expect((await manager.claimMessages(Q, { limit: 9 })).map(({ data }) => data)).toEqual([1, 2, 3, 4, 5, 6]);
});

test('a folder that is none is refused', async () => {
  await expect(verifyQueue(join(tmpdir(), 'coda-there-is-no-such-folder'))).rejects.toMatchObject({
    name: 'QueueError',
    code: 'QUEUE_NOT_FOUND',
  });
});
