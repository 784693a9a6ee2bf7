/** Folders in which something is no segment though it is called one, or a segment is missing that the newest rests on. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Ports } from '../../src/cache/ports.ts';
import { planRepair, repairQueue } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { filledBy } from '../support/on-specimen.ts';
import { expectWhole, filesOf, first, messagesOf, OPTIONS, PORTS, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, type Specimen } from '../support/specimen.ts';

/** Of twelve messages in each of four segments, too large to be carried; in the third one of the second has ended, two were changed. */
const test = filledBy(async (specimen) => {
  const manager = await openManager(specimen.root, { durability: 'always' });
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let segment = 1; segment <= 4; segment++) {
    for (let n = 0; n < 12; n++) {
      const { uuid } = await manager.addMessage(Q, { data: { n, text: 'x'.repeat(4000) } });
      uuids.push(uuid);
    }
    if (segment === 3) {
      await manager.removeMessage(Q, uuids[12]!);
      await manager.updateMessage(Q, uuids[13]!, { disabled: true });
      await manager.updateMessage(Q, uuids[14]!, { data: 'changed' });
    }
    if (segment < 4) await rotate(manager, specimen);
  }
  await manager.close();
  return uuids;
});

const [FIRST, SECOND, THIRD, NEWEST] = [1, 2, 3, 4].map((n) => `0000000${n}.journal`) as [
  string,
  string,
  string,
  string,
];

test.for<[what: string, put: (path: string, root: string) => void, detail: RegExp]>([
  ['a folder', (path) => mkdirSync(path), /^a folder is in its place/],
  [
    'a link',
    (path, root) => {
      writeFileSync(join(root, 'elsewhere'), '');
      symlinkSync('../elsewhere', path);
    },
    /^a link to \/.*\/elsewhere is in its place/,
  ],
  ['a link to nowhere', (path) => symlinkSync('nowhere', path), /^a link that leads nowhere is in its place/],
  ['a pipe', (path) => execFileSync('mkfifo', [path]), /^a device is in its place/],
])(
  'what was in the newest file is said to be gone where %s is in its place',
  async ([, put, detail], { specimen, uuids }) => {
    const path = specimen.path(NEWEST);
    rmSync(path);
    put(path, specimen.root);
    const is = expect.stringMatching(detail) as string;
    const { sound, messages, damage } = await verifyQueue(specimen.folder);
    expect({ sound, messages }).toEqual({ sound: false, messages: undefined });
    expect(damage).toEqual([expect.objectContaining({ file: NEWEST, kind: 'missing', detail: is })]);

    const plan = await planRepair(specimen.folder, OPTIONS);
    // Whatever is left may have ended in it.
    expect(plan).toMatchObject({ outcome: 'planned', gone: [NEWEST], doubtful: plan.messages });
    const report = await repair(specimen);
    expect(report).toMatchObject({ outcome: 'repaired', sound: true, gone: [NEWEST] });
    expect(report.segments).toContainEqual({
      file: NEWEST,
      fate: 'aside',
      is: damage[0]!.detail.split(' is in')[0],
    });
    const text = readFileSync(join(report.quarantine!, 'report.txt'), 'utf8');
    expect(text).toContain(damage[0]!.detail);
    expect(lstatSync(join(report.quarantine!, 'old', NEWEST)).isFile()).toBe(false);
    const found = await messagesOf(specimen);
    expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([uuids[12], ...uuids.slice(36)]);
    await expectWhole(specimen);
  },
);

/** Its first bytes, of which one in the first line has changed. */
function beginning(path: string, length: number): Buffer {
  const bytes = readFileSync(path).subarray(0, length);
  bytes[100]! ^= 1;
  return bytes;
}

test.for<[what: string, put: (path: string, second: number) => void]>([
  ['a word', (path) => writeFileSync(path, 'x\n')],
  ['a list of files', (path) => writeFileSync(path, 'reserve\n00000001.journal\n')],
  ['a sentence', (path) => writeFileSync(path, 'Who has done this, and what was it good for?\n')],
  ['its damaged first line', (path, second) => writeFileSync(path, beginning(path, second))],
  ['half its damaged head', (path, second) => writeFileSync(path, beginning(path, second + 40))],
])('so it is where only %s is left of it', async ([, put], { specimen, uuids }) => {
  put(specimen.path(NEWEST), specimen.records(NEWEST)[1]!.start);
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, gone: [NEWEST] });
  expect(report.doubtful).toBe(report.messages);
  const found = await messagesOf(specimen);
  expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([uuids[12], ...uuids.slice(36)]);
  await expectWhole(specimen);
});

test('a newest file with a head that is damaged, and nothing behind it, is not told to have been cut off', async ({
  specimen,
  uuids,
}) => {
  const { end } = first(specimen, NEWEST, 'ready');
  truncateSync(specimen.path(NEWEST), end + 1);
  for (const op of ['head', 'ready']) {
    const copy = specimen.copy();
    copy.flip(NEWEST, first(copy, NEWEST, op).end - 3);
    expect(await repair(copy)).toMatchObject({ outcome: 'repaired', sound: true, gone: [], lost: [] });
    const found = await messagesOf(copy);
    expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([uuids[12], ...uuids.slice(36)]);
    copy.dispose();
  }
});

test('a text of very many lines in place of an older file costs what was in that, and can be repaired', async ({
  specimen,
  uuids,
}) => {
  writeFileSync(specimen.path(SECOND), 'y\n\n\n'.repeat(200_000));
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
  const found = await messagesOf(specimen);
  expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([...uuids.slice(12, 14), ...uuids.slice(15, 24)]);
});

test.for(['99999999.index', '99999999.journal'])(
  'a file named %s is refused, because no segment could follow it, and nothing is changed',
  async (name, { specimen, uuids }) => {
    writeFileSync(specimen.path(name), '');
    const before = filesOf(specimen);
    for (const refused of [planRepair(specimen.folder, OPTIONS), repair(specimen)])
      await expect(refused).rejects.toMatchObject({
        code: 'JOURNAL_CORRUPT',
        message: expect.stringContaining(`${name} leaves no numbers`) as string,
      });
    expect(filesOf(specimen)).toEqual(before);
    rmSync(specimen.path(name));
    expect(await repair(specimen)).toMatchObject({ outcome: 'sound', messages: uuids.length - 1 });
  },
);

test('one repair is enough where a folder is in place of the newest file, and lines have changed places in another', async ({
  specimen,
  uuids,
}) => {
  rmSync(specimen.path(NEWEST));
  mkdirSync(specimen.path(NEWEST));
  const bytes = readFileSync(specimen.path(FIRST));
  const [one, other] = specimen
    .records(FIRST)
    .filter(({ header }) => header.op === 'add')
    .slice(3);
  writeFileSync(
    specimen.path(FIRST),
    Buffer.concat([
      bytes.subarray(0, one!.start),
      bytes.subarray(other!.start, other!.end),
      Buffer.from('\n'),
      bytes.subarray(one!.start, one!.end),
      bytes.subarray(other!.end),
    ]),
  );
  expect(await repair(specimen)).toMatchObject({
    outcome: 'repaired',
    sound: true,
    lost: [],
    gone: [NEWEST],
  });
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
  const found = await messagesOf(specimen);
  expect(uuids.slice(0, 36).filter((uuid) => !found.has(uuid))).toEqual([uuids[12]]);
});

/** Changes a byte of the newest head, of a record that tells of a message. */
function spoilHead(specimen: Specimen): void {
  specimen.flip(NEWEST, first(specimen, NEWEST, 'touched').end - 2);
}

test('a head that cannot be made again because a segment is gone says so, and each loss is told once', async ({
  specimen,
  uuids,
}) => {
  rmSync(specimen.path(SECOND));
  spoilHead(specimen);
  const { damage } = await verifyQueue(specimen.folder);
  expect(damage).toContainEqual(expect.objectContaining({ kind: 'missing', file: SECOND }));

  const manager = await openManager(specimen.root);
  await expect(manager.queueStatus(Q)).rejects.toMatchObject({
    code: 'JOURNAL_CORRUPT',
    message: expect.stringContaining(`${SECOND} is not there`) as string,
  });
  // Who only adds may not notice.
  const { uuid } = await manager.addMessage(Q, { data: 'acknowledged' });
  await manager.close();

  const { sound, lost, unnamed } = await repair(specimen);
  const found = await messagesOf(specimen);
  const gone = uuids.filter((each, i) => i !== 12 && !found.has(each));
  expect(gone).toEqual([uuids[13], ...uuids.slice(15, 24)]);
  const count = lost.reduce((sum, each) => sum + each.count, 0);
  // The damaged record may have told of one of which nothing else does.
  expect({ sound, count, unnamed }).toEqual({ sound: true, count: gone.length, unnamed: 1 });
  expect(found.get(uuid)).toMatchObject({ data: 'acknowledged' });
  await expectWhole(specimen);
});

test('a segment that was renamed is told by both of its names, by everybody', async ({ specimen, uuids }) => {
  expect(uuids).toHaveLength(48);
  const other = '00000005.journal';
  renameSync(specimen.path(THIRD), specimen.path(other));
  const { damage } = await verifyQueue(specimen.folder);
  expect(damage).toContainEqual(
    expect.objectContaining({
      kind: 'head',
      file: other,
      detail: expect.stringContaining('another segment') as string,
    }),
  );
  expect(damage).toContainEqual(expect.objectContaining({ kind: 'missing', file: THIRD }));
  const manager = await openManager(specimen.root);
  for (const use of [() => manager.queueStatus(Q), () => manager.addMessage(Q, { data: 1 })])
    await expect(use()).rejects.toMatchObject({
      code: 'JOURNAL_CORRUPT',
      message: expect.stringContaining(`${other} says that it is ${THIRD}`) as string,
    });
  await manager.close();
});

test('what no write begins with is rot at the end of the newest file, too, and what one does is not', async ({
  specimen,
  uuids,
}) => {
  const add = specimen.records(NEWEST).find(({ header }) => header['u'] === uuids[47])!;
  const line = readFileSync(specimen.path(NEWEST)).toString('latin1', add.start, add.end);
  for (const [end, sound] of [
    ['hello', false],
    ['{"op":"add"', false],
    [line.slice(1), false],
    ['', true],
    ['[', true],
    [line.slice(0, 30), true],
    [line.slice(0, -1), true],
  ] as const) {
    const copy = specimen.copy();
    appendFileSync(copy.path(NEWEST), `\n${end}`);
    expect({ end, sound: (await verifyQueue(copy.folder)).sound }).toEqual({ end, sound });
    const outcome = sound ? 'sound' : 'repaired';
    expect(await repair(copy)).toMatchObject({ outcome, lost: [] });
    if (!sound) await expectWhole(copy);
    copy.dispose();
  }
});

test('a repair names the report of an earlier one, which may not have come to telling it', async ({
  specimen,
  uuids,
}) => {
  for (const uuid of [uuids[2], uuids[46]]) {
    const file = uuid === uuids[2] ? FIRST : NEWEST;
    specimen.flip(file, specimen.records(file).find(({ header }) => header['u'] === uuid)!.end - 2);
  }
  const remove = (): never => {
    throw Object.assign(new Error('the end'), { code: 'EIO' });
  };
  const ports: Ports = { ...PORTS, fs: { ...PORTS.fs, remove } };
  await expect(repairQueue(specimen.folder, { ...OPTIONS, ports })).rejects.toThrow('repair it again');
  const report = await repair(specimen);
  expect(report).toMatchObject({ earlier: [expect.any(String)] });
  expect(readFileSync(join(report.earlier[0]!, 'report.txt'), 'utf8')).toContain(uuids[2]);
  const { outcome, earlier } = await repair(specimen);
  expect({ outcome, earlier: earlier.length }).toEqual({
    outcome: 'sound',
    earlier: report.outcome === 'repaired' ? 2 : 1,
  });
});
