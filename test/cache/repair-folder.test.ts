/** `repairQueue` on folders in which whole files are missing, cut, replaced, or without anything sound. */
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { segmentName } from '../../src/cache/files.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { expectWhole, filesOf, first, messagesOf, OPTIONS, PORTS, repair } from '../support/repairing.ts';
import { written } from '../support/scan.ts';
import { everyOperation, openManager, Q, rotate, Specimen } from '../support/specimen.ts';

describe('a folder', () => {
  let specimen: Specimen;
  let uuids: string[];

  /** Segments with waiting messages in each. */
  beforeEach(async () => {
    specimen = new Specimen();
    uuids = [];
    const manager = await openManager(specimen.root, { segmentBytes: 1000 });
    await manager.createQueue(Q, { uniqueAlias: true });
    for (let segment = 0; segment < 4; segment++) {
      for (const n of [1, 2, 3]) {
        const { uuid } = await manager.addMessage(Q, { data: { segment, n }, alias: `${segment}-${n}` });
        uuids.push(uuid);
      }
      if (segment < 3) await rotate(manager, specimen);
    }
    await manager.close();
  });

  afterEach(() => specimen.dispose());

  /** Another queue with segments of the same numbers. */
  async function another(): Promise<Specimen> {
    const foreign = new Specimen();
    const manager = await openManager(foreign.root, { segmentBytes: 1000 });
    await manager.createQueue(Q);
    while (foreign.segments().length < specimen.segments().length) {
      await manager.addMessage(Q, { data: 'of another queue: '.repeat(9) });
      await rotate(manager, foreign);
    }
    await manager.close();
    return foreign;
  }

  const path = (index: number): string => specimen.path(specimen.segments().at(index)!);

  /** But for those that fill a segment, of which the end may be lost. */
  async function waitingIn(from: Specimen): Promise<string[]> {
    const messages = [...(await messagesOf(from)).values()];
    return messages.filter(({ disabled }) => !disabled).map(({ uuid }) => uuid);
  }

  async function expectKept(...kept: string[]): Promise<void> {
    expect(await waitingIn(specimen)).toEqual(kept);
    await expectWhole(specimen);
  }

  test('without one of its older segments loses what was in it, and says how much', async () => {
    // One of them has ended since, one has been claimed: it is known which.
    const manager = await openManager(specimen.root);
    const claims = await manager.claimMessages(Q, { limit: 2 });
    await manager.completeMessage(Q, claims[0]!);
    await manager.close();
    rmSync(path(0));
    const file = '00000001.journal';
    expect(await repair(specimen)).toMatchObject({
      sound: true,
      lost: [
        { file, count: 1, why: expect.stringContaining('is not there') as string },
        { file, count: 1, why: expect.stringContaining('is not there') as string },
      ],
    });
    await expectKept(...uuids.slice(3));
  });

  test('whose older segment was cut loses what was behind the cut', async () => {
    const { end } = specimen.records(specimen.segments()[1]!).filter(({ header }) => header.op === 'add')[0]!;
    truncateSync(path(1), end + 10);
    expect((await verifyQueue(specimen.folder)).damage).toContainEqual(
      expect.objectContaining({ kind: 'missing', detail: expect.stringContaining('has been cut') as string }),
    );
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ count: 2 }] });
    await expectKept(...uuids.slice(0, 4), ...uuids.slice(6));
  });

  test.each([
    ['gone', 0],
    ['damaged', 1],
  ])(
    'whose very last newline is %s keeps that message, which any next write would complete',
    async (_, byte) => {
      const newest = specimen.segments().at(-1)!;
      const [one, two] = specimen.records(newest).filter(({ header }) => header.op === 'add');
      truncateSync(path(-1), two!.end + byte);
      if (byte > 0) specimen.flip(newest, two!.end);
      specimen.flip(newest, one!.end - 2);
      const { sound, messages, lost } = await repair(specimen);
      expect({ sound, lost }).toMatchObject({ sound: true, lost: [{ uuid: one!.header['u'] }] });
      expect(messages).toBe((await messagesOf(specimen)).size);
      expect(await waitingIn(specimen)).toContain(two!.header['u']);
    },
  );

  test('with nothing sound in its newest segment goes on from the one before', async () => {
    writeFileSync(path(-1), Buffer.alloc(statSync(path(-1)).size));
    expect(await repair(specimen)).toMatchObject({ sound: true, optionsKnown: true });
    await expectKept(...uuids.slice(0, 9));
  });

  test('with a link in the place of its newest segment, or a folder, goes on from the one before', async () => {
    for (const put of [(to: string) => symlinkSync('/etc/passwd', to), (to: string) => mkdirSync(to)]) {
      const copy = specimen.copy();
      const newest = copy.path(copy.segments().at(-1)!);
      rmSync(newest);
      put(newest);
      expect(await repair(copy)).toMatchObject({ outcome: 'repaired', sound: true });
      expect(await waitingIn(copy)).toEqual(uuids.slice(0, 9));
      // Numbers go on behind it.
      expect(Number.parseInt(copy.segments().at(-1)!, 10)).toBe(
        Number.parseInt(specimen.segments().at(-1)!, 10) + 1,
      );
      await expectWhole(copy);
      copy.dispose();
    }
  });

  test('with not one sound head is made from its adds alone, and its options are lost', async () => {
    for (const file of specimen.segments()) copyNothingOf(file, (op) => op === 'head');
    const report = await repair(specimen);
    expect(report).toMatchObject({ outcome: 'repaired', sound: true, optionsKnown: false });
    const kept = await messagesOf(specimen);
    expect(uuids.filter((uuid) => !kept.has(uuid))).toEqual([]);
    await expectWhole(specimen);
  });

  function copyNothingOf(file: string, which: (op: string) => boolean): void {
    const bytes = readFileSync(specimen.path(file));
    for (const { start, end, header } of specimen.records(file))
      if (which(header.op)) bytes.fill('#', start, end);
    writeFileSync(specimen.path(file), bytes);
  }

  test('whose successor is missing that the log has chosen gets another', async () => {
    rmSync(path(-1));
    const report = await repair(specimen);
    expect(report).toMatchObject({ outcome: 'repaired', sound: true });
    await expectKept(...uuids.slice(0, 9));
  });

  test('whose rotation was not finished has it finished', async () => {
    const [sealed, newest] = specimen.segments().slice(-2) as [string, string];
    const note = specimen.records(sealed).find(({ header }) => header.op === 'next')!;
    const temporary = `tmp-${newest.slice(0, 8)}-${note.header['r'] as string}`;
    renameSync(specimen.path(newest), specimen.path(temporary));
    const add = specimen.records(specimen.segments()[0]!).filter(({ header }) => header.op === 'add')[0]!;
    specimen.flip(specimen.segments()[0]!, add.end - 2);
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
    await expectKept(...uuids.slice(1));
  });

  test('whose successor is missing gets one of a number that was never used: who holds the old file goes on', async () => {
    const producer = await openManager(specimen.root, { durability: 'always' });
    const { uuid } = await producer.addMessage(Q, { data: 'gone with its file' });
    const [previous, newest] = specimen.segments().slice(-2) as [string, string];
    rmSync(specimen.path(newest));
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
    expect(specimen.segments().slice(-2)).toEqual([previous, segmentName(Number.parseInt(newest, 10) + 1)]);
    await producer.addMessage(Q, { data: 'new', disabled: true });
    await producer.close();
    expect([...(await messagesOf(specimen)).values()].map(({ data }) => data)).toContain('new');
    expect((await messagesOf(specimen)).has(uuid)).toBe(false);
    await expectWhole(specimen);
  });

  test('without a newest segment keeps the owner and the mode of its files', async () => {
    for (const file of specimen.segments()) chmodSync(specimen.path(file), 0o660);
    rmSync(path(-1));
    symlinkSync('/etc/passwd', join(specimen.folder, '00000099.journal'));
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
    expect(statSync(specimen.path('00000100.journal')).mode & 0o777).toBe(0o660);
  });

  test('whose seal is lost is none the fuller for what stood behind it', async () => {
    const sealed = specimen.segments().at(-2)!;
    const header = { op: 'add', u: '01a00000-0000-7000-8000-000000000001', w: 'ab'.repeat(8), n: 1, t: 5 };
    appendFileSync(specimen.path(sealed), written([{ header, payload: '"written again elsewhere"' }]));
    specimen.flip(sealed, first(specimen, sealed, 'seal').end - 2);
    // So that it is read once more.
    specimen.flip(specimen.segments().at(-1)!, first(specimen, specimen.segments().at(-1)!, 'ready').end - 2);
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, messages: 12 });
    await expectKept(...uuids);
  });

  test('whose first head is lost has its options from a later one', async () => {
    let manager = await openManager(specimen.root);
    await manager.setCustomAttributes(Q, { color: 'blue' });
    await manager.updateMessage(Q, uuids[0]!, { data: 'touched' });
    await manager.close();
    manager = await openManager(specimen.root, { segmentBytes: 1000 });
    await rotate(manager, specimen);
    const { id } = specimen.records(specimen.segments().at(-1)!)[0]!.header;
    for (const file of specimen.segments().slice(0, -1))
      specimen.flip(file, specimen.records(file)[0]!.end - 2);
    const newest = specimen.segments().at(-1)!;
    specimen.flip(newest, first(specimen, newest, 'touched').end - 2);
    expect(await repair(specimen)).toMatchObject({ sound: true, optionsKnown: true });
    expect(specimen.records(specimen.segments().at(-1)!)[0]!.header['id']).toBe(id);
    expect((await manager.queueStatus(Q)).customAttributes).toEqual({ color: 'blue' });
    const kept = await messagesOf(specimen);
    expect(uuids.filter((uuid) => !kept.has(uuid))).toEqual([]);
    await manager.close();
    await expectWhole(specimen);
  });

  describe('in which a file is not what its name says is refused, for a person to put right:', () => {
    async function expectRefused(text: RegExp): Promise<void> {
      const before = filesOf(specimen);
      await expect(repair(specimen)).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
      await expect(repair(specimen)).rejects.toThrow(text);
      expect(filesOf(specimen)).toEqual(before);
    }

    test('two that were swapped', async () => {
      const [one, other] = specimen.segments().slice(1) as [string, string];
      const swap = (): void => {
        renameSync(specimen.path(one), specimen.path('aside'));
        renameSync(specimen.path(other), specimen.path(one));
        renameSync(specimen.path('aside'), specimen.path(other));
      };
      swap();
      await expectRefused(new RegExp(`${one} says that it is ${other}`));
      swap();
      expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
    });

    test.each([0, 1, 2, 3])('one that was copied from another queue, number %d', async (index) => {
      const foreign = await another();
      const file = specimen.segments()[index]!;
      renameSync(specimen.path(file), join(specimen.root, 'own'));
      copyFileSync(foreign.path(file), specimen.path(file));
      foreign.dispose();
      await expectRefused(/two queues|another queue/);
      renameSync(join(specimen.root, 'own'), specimen.path(file));
      expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
      await expectKept(...uuids);
    });

    test('one of which only the newest head says so', async () => {
      const foreign = await another();
      const [oldest, next] = specimen.segments() as [string, string];
      copyFileSync(foreign.path(oldest), specimen.path(oldest));
      foreign.dispose();
      rmSync(specimen.path(next));
      await expectRefused(/another queue/);
    });
  });

  test('that is empty becomes one without a queue: whoever uses it is told', async () => {
    for (const name of readdirSync(specimen.folder)) rmSync(specimen.path(name));
    expect(await repair(specimen)).toMatchObject({
      outcome: 'repaired',
      sound: true,
      messages: 0,
      exists: false,
    });
    const manager = await openManager(specimen.root);
    await expect(manager.addMessage(Q, { data: 1 })).rejects.toMatchObject({ code: 'QUEUE_NOT_FOUND' });
    expect(await manager.createQueue(Q)).toBe(true);
    await manager.close();
  });

  test('that is a link is refused', async () => {
    const linked = join(specimen.root, 'linked');
    symlinkSync(specimen.folder, linked);
    await expect(repairQueue(linked, OPTIONS)).rejects.toMatchObject({ code: 'STORAGE_UNSUPPORTED' });
    await expect(repairQueue(join(specimen.root, 'none'), OPTIONS)).rejects.toMatchObject({
      code: 'QUEUE_NOT_FOUND',
    });
  });

  test('with a head of a newer version is refused', async () => {
    const file = specimen.segments().at(-1)!;
    const bytes = readFileSync(specimen.path(file));
    const { start, end, header } = specimen.records(file)[0]!;
    const payload = JSON.stringify((JSON.parse(bytes.toString('utf8', start, end)) as unknown[])[2]);
    const newer = written([{ header: { ...header, rules: 99 }, payload }]);
    writeFileSync(
      specimen.path(file),
      Buffer.concat([bytes.subarray(0, start), newer, bytes.subarray(end + 1)]),
    );
    await expect(repair(specimen)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    expect(readdirSync(specimen.root)).toEqual([Q]);
  });

  test('whose two heads disagree is no longer kept for that, after a repair', async () => {
    const file = specimen.segments().at(-1)!;
    const bytes = readFileSync(specimen.path(file));
    const { start, end, header } = specimen.records(file)[0]!;
    const payload = JSON.stringify((JSON.parse(bytes.toString('utf8', start, end)) as unknown[])[2]);
    const other = written([{ header: { ...header, digest: (header['digest'] as number) + 1 }, payload }]);
    const rest = bytes.subarray(end + 1);
    writeFileSync(specimen.path(file), Buffer.concat([bytes.subarray(0, start), other, rest]));
    expect((await verifyQueue(specimen.folder)).damage).toContainEqual(
      expect.objectContaining({ kind: 'head' }),
    );
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
    await expectKept(...uuids);
  });

  test('whose newest head lacks a message that may still be there keeps it, if need be twice', async () => {
    const manager = await openManager(specimen.root, { segmentBytes: 1000 });
    await manager.updateMessage(Q, uuids[0]!, { disabled: true });
    for (let i = 0; i < 2; i++) await rotate(manager, specimen);
    await manager.close();
    const [previous, newest] = specimen.segments().slice(-2) as [string, string];
    const add = specimen.records(specimen.segments()[0]!).find(({ header }) => header['u'] === uuids[0])!;
    const touched = specimen.records(newest).find(({ header }) => {
      return header.op === 'touched' && (header['p'] as number[])[1] === add.start;
    })!;
    specimen.flip(newest, touched.end - 2);
    rmSync(specimen.path(previous));
    const report = await repair(specimen);
    expect(report).toMatchObject({ outcome: 'repaired', sound: true });
    expect(report.doubtful).toBeGreaterThan(0);
    const kept = await messagesOf(specimen);
    expect(uuids.filter((uuid) => !kept.has(uuid))).toEqual([]);
    await expectWhole(specimen);
  });

  test('of which no copy can be made, or no head written, is left as it is, and no half of a copy stays', async () => {
    const add = specimen.records(specimen.segments()[0]!).filter(({ header }) => header.op === 'add')[0]!;
    specimen.flip(specimen.segments()[0]!, add.end - 2);
    const before = filesOf(specimen);
    for (const where of ['/old/', '/report.txt', '/tmp-']) {
      const open: Ports['fs']['open'] = (file, how, mode) => {
        if (how === 'create' && file.includes(where))
          throw Object.assign(new Error('full'), { code: 'ENOSPC' });
        return PORTS.fs.open(file, how, mode);
      };
      const ports: Ports = { ...PORTS, fs: { ...PORTS.fs, open } };
      await expect(repairQueue(specimen.folder, { keepOutcomes: 50, ports })).rejects.toMatchObject({
        code: 'STORAGE_FULL',
      });
      expect(filesOf(specimen)).toEqual(before);
      const kept = join(specimen.root, '.quarantine');
      expect(existsSync(kept) ? readdirSync(kept) : []).toEqual([]);
    }
  });

  test('of too little space is left as it is', async () => {
    const add = specimen.records(specimen.segments()[0]!).filter(({ header }) => header.op === 'add')[0]!;
    specimen.flip(specimen.segments()[0]!, add.end - 2);
    const before = filesOf(specimen);
    const space = (): { free: number; type: number } => ({ free: 100_000, type: 0 });
    const ports: Ports = { ...PORTS, fs: { ...PORTS.fs, space } };
    await expect(repairQueue(specimen.folder, { keepOutcomes: 50, ports })).rejects.toMatchObject({
      code: 'STORAGE_FULL',
    });
    expect(filesOf(specimen)).toEqual(before);
  });
});

test('a queue whose record of creation is lost exists again, with its messages but without its options', async () => {
  const specimen = new Specimen();
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await manager.destroyQueue(Q);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 1 });
  await manager.close();
  const file = specimen.segments().at(-1)!;
  specimen.flip(file, first(specimen, file, 'create').end - 2);
  expect(await repair(specimen)).toMatchObject({
    outcome: 'repaired',
    sound: true,
    messages: 1,
    optionsKnown: false,
  });
  expect([...(await messagesOf(specimen)).keys()]).toEqual([uuid]);
  await expectWhole(specimen);
  specimen.dispose();
});

test('a queue whose making lies among zeros that a power cut might have left is missed by verify, and made again', async () => {
  const specimen = new Specimen();
  await everyOperation(specimen.root);
  const file = specimen.segments().at(-1)!;
  const boot = specimen.records(file).findLast(({ header }) => header.op === 'boot')!;
  const bytes = readFileSync(specimen.path(file));
  writeFileSync(specimen.path(file), bytes.fill(0, first(specimen, file, 'create').start, boot.start - 1));
  expect((await verifyQueue(specimen.folder)).damage).toContainEqual(
    expect.objectContaining({ kind: 'missing', detail: expect.stringContaining('made the queue') as string }),
  );
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, exists: true });
  expect((await messagesOf(specimen)).size).toBe(report.messages);
  expect(report.messages).toBeGreaterThan(20);
  specimen.dispose();
});

test('a lost record in an older segment is told once, and brings no sound head under suspicion', async () => {
  const specimen = new Specimen();
  const manager = await openManager(specimen.root, { segmentBytes: 1000 });
  await manager.createQueue(Q, { uniqueAlias: true });
  const data = 'x'.repeat(100);
  const added = await manager.addMessages(Q, [{ data }, { data }, { data }, { data }]);
  await rotate(manager, specimen);
  await manager.updateMessage(Q, added[1]!.uuid, { disabled: true });
  await rotate(manager, specimen);
  await manager.close();
  const [oldest] = specimen.segments() as [string];
  const { start, end } = specimen.records(oldest).find(({ header }) => header['u'] === added[1]!.uuid)!;
  specimen.flip(oldest, end - 2);
  const { damage } = await verifyQueue(specimen.folder);
  expect(damage).toEqual([
    expect.objectContaining({ kind: 'rot', file: oldest, from: start, uuid: added[1]!.uuid }),
  ]);
  expect(await repair(specimen)).toMatchObject({
    sound: true,
    lost: [{ uuid: added[1]!.uuid }],
    unnamed: 0,
  });
  await expectWhole(specimen);
  specimen.dispose();
});

test('how many records are lost of which nothing is legible is told by the numbers of the others', async () => {
  const specimen = new Specimen();
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  for (const data of [1, 2, 3, 4, 5]) await manager.addMessage(Q, { data });
  await manager.close();
  const file = specimen.segments()[0]!;
  const adds = specimen.records(file).filter(({ header }) => header.op === 'add');
  const bytes = readFileSync(specimen.path(file));
  writeFileSync(specimen.path(file), bytes.fill(0, adds[1]!.start + 3, adds[2]!.end - 3));
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 3, lost: [], unnamed: 2 });
  // Once told, it is not told again.
  specimen.flip(file, adds[4]!.end - 2);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 2, unnamed: 0 });
  specimen.dispose();
});
