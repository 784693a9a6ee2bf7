/** `repairQueue` on folders in which whole files are missing, cut, replaced, or without anything sound. */
import {
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
import type { Ports } from '../../src/cache/ports.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { expectWhole, filesOf, first, messagesOf, OPTIONS, PORTS, repair } from '../support/repairing.ts';
import { written } from '../support/scan.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

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
    rmSync(path(0));
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ count: 3 }] });
    await expectKept(...uuids.slice(3));
  });

  test('whose older segment was cut loses what was behind the cut', async () => {
    const { end } = specimen.records(specimen.segments()[1]!).filter(({ header }) => header.op === 'add')[0]!;
    truncateSync(path(1), end + 10);
    expect((await verifyQueue(specimen.folder)).sound).toBe(false);
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ count: 2 }] });
    await expectKept(...uuids.slice(0, 4), ...uuids.slice(6));
  });

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
