/** What may be wrong with a queue's folder as a whole: files that are missing, cut short, replaced, foreign or newer. */
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Claim, QueueManager } from '../../src/index.ts';
import { all, expectRefused } from '../support/examine.ts';
import { written } from '../support/scan.ts';
import { openManager, Q, recordsIn, rotate, Specimen } from '../support/specimen.ts';

let specimen: Specimen;
const open: QueueManager[] = [];

beforeEach(() => {
  specimen = new Specimen();
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((manager) => manager.close()));
  specimen.dispose();
});

async function manager(how: Parameters<typeof openManager>[1] = {}): Promise<QueueManager> {
  const opened = await openManager(specimen.root, how);
  open.push(opened);
  return opened;
}

/** A queue with messages 1, 2, 3 in each of several segments; the names of these, oldest first. */
async function segmented(count: number): Promise<string[]> {
  const first = await manager({ segmentBytes: 1000 });
  await first.createQueue(Q);
  for (let segment = 1; segment <= count; segment++) {
    for (const n of [1, 2, 3]) await first.addMessage(Q, { data: { segment, n } });
    if (segment < count) await rotate(first, specimen);
  }
  await first.close();
  return specimen.segments();
}

/** The messages that are not there to fill a segment. */
async function dataOf(from: QueueManager): Promise<unknown[]> {
  return (await all(from)).filter(({ disabled }) => !disabled).map(({ data }) => data);
}

const of = (...segments: number[]): unknown[] =>
  segments.flatMap((segment) => [1, 2, 3].map((n) => ({ segment, n })));

/** Writes a segment anew with other headers. */
function rewrite(file: string, change: (header: Record<string, unknown>) => Record<string, unknown>): void {
  const bytes = readFileSync(specimen.path(file));
  const records = recordsIn(bytes).map(({ start, end, header }) => {
    const payload = (JSON.parse(bytes.toString('utf8', start, end)) as unknown[])[2];
    const changed = change(header) as (typeof header)[string];
    return payload === undefined
      ? { header: changed }
      : { header: changed, payload: JSON.stringify(payload) };
  });
  writeFileSync(specimen.path(file), written(records));
}

function recordOf(file: string, op: string) {
  return specimen.records(file).find(({ header }) => header.op === op)!;
}

async function soundness(): Promise<boolean> {
  return (await verifyQueue(specimen.folder)).sound;
}

test('a queue of several segments is sound, to begin with', async () => {
  const segments = await segmented(4);
  expect(segments.length).toBeGreaterThanOrEqual(4);
  expect(await dataOf(await manager())).toEqual(of(1, 2, 3, 4));
  expect(await soundness()).toBe(true);
});

describe('a handle that is open on a sealed segment whose seal has rotted', () => {
  /** What it does first after the rot; `whole`: it knew all messages before. */
  const handles: [string, { whole: boolean; durability: 'os' | 'always' }][] = [
    ['of a producer', { whole: false, durability: 'os' }],
    ['of a producer, durable,', { whole: false, durability: 'always' }],
    ['of a consumer', { whole: true, durability: 'os' }],
    ['of a consumer, durable,', { whole: true, durability: 'always' }],
  ];

  async function overtaken({ whole, durability }: (typeof handles)[number][1]): Promise<QueueManager> {
    const old = await manager({ durability });
    await old.createQueue(Q);
    await old.addMessage(Q, { data: 1 });
    if (whole) await old.queueStatus(Q);
    const [sealed] = specimen.segments();
    const other = await manager({ segmentBytes: 1000 });
    await rotate(other, specimen);
    await other.addMessage(Q, { data: 2 });
    await other.close();
    specimen.flip(sealed!, recordOf(sealed!, 'seal').end - 2);
    return old;
  }

  test.each(handles)('%s adds to its successor', async (_, how) => {
    const old = await overtaken(how);
    await old.addMessage(Q, { data: 3 });
    await old.addMessages(Q, [{ data: 4 }, { data: 5 }]);
    expect(await dataOf(await manager())).toEqual([1, 2, 3, 4, 5]);
    expect(await dataOf(old)).toEqual([1, 2, 3, 4, 5]);
  });

  test.each(handles.slice(2))('%s claims and settles there', async (_, how) => {
    const old = await overtaken(how);
    const claims: Claim[] = await old.claimMessages(Q, { limit: 1 });
    expect(claims.map(({ data }) => data)).toEqual([1]);
    expect(await old.completeMessage(Q, claims[0]!)).toBe(true);
    expect(await dataOf(await manager())).toEqual([2]);
  });
});

describe('a seal that has rotted', () => {
  test('brings back nothing that was written behind it', async () => {
    // Two who write at once: some of what one writes comes behind the other's seal, and is written again.
    const one = await manager({ segmentBytes: 1000 });
    const two = await manager({ segmentBytes: 1e9 });
    await one.createQueue(Q);
    const [first] = specimen.segments();
    await one.addMessage(Q, { data: 'first' });
    await two.queueStatus(Q);
    await one.addMessage(Q, { data: 'x'.repeat(5000) });
    await rotate(one, specimen);
    const seal = recordOf(first!, 'seal');
    // As a process would have done that had not read the seal.
    const { header } = specimen.records(first!).find(({ header: { op } }) => op === 'add')!;
    const uuid = '01a00000-0000-7000-8000-00000000dead';
    const late = written([
      { header: { ...header, u: uuid, w: 'ffffffffffffffff', n: 1 }, payload: '"late"' },
    ]);
    writeFileSync(specimen.path(first!), Buffer.concat([readFileSync(specimen.path(first!)), late]));
    expect(await dataOf(await manager())).toEqual(['first', 'x'.repeat(5000)]);
    specimen.flip(first!, seal.end - 2);
    for (const name of readdirSync(specimen.folder)) if (name.endsWith('.index')) rmSync(specimen.path(name));
    expect(await dataOf(await manager())).toEqual(['first', 'x'.repeat(5000)]);
    expect(await soundness()).toBe(false);
  });

  test('and a note that has rotted hide no successor from who opens the queue', async () => {
    const [first] = await segmented(2);
    for (const op of ['seal', 'next']) specimen.flip(first!, recordOf(first!, op).start + 40);
    const fresh = await manager();
    expect(await dataOf(fresh)).toEqual(of(1, 2));
    await fresh.addMessage(Q, { data: 'new' });
    expect(await dataOf(await manager())).toEqual([...of(1, 2), 'new']);
    expect(await soundness()).toBe(false);
  });
});

test('a note that has rotted costs nothing', async () => {
  const old = await manager();
  await old.createQueue(Q);
  await old.addMessage(Q, { data: 1 });
  await old.queueStatus(Q);
  const [first] = specimen.segments();
  await rotate(await manager({ segmentBytes: 1000 }), specimen);
  specimen.flip(first!, recordOf(first!, 'next').start + 40);
  await old.addMessage(Q, { data: 2 });
  expect(await dataOf(await manager())).toEqual([1, 2]);
  expect(await soundness()).toBe(false);
});

describe('the record of a creation that has rotted', () => {
  test('hides no messages: the queue is refused, or they are there', async () => {
    const first = await manager();
    await first.createQueue(Q);
    await first.destroyQueue(Q);
    await first.createQueue(Q);
    await first.addMessage(Q, { data: 1 });
    const file = specimen.segments().at(-1)!;
    specimen.flip(file, recordOf(file, 'create').start + 40);
    const fresh = await manager();
    const found = await dataOf(fresh).catch((error: unknown) => error);
    if (Array.isArray(found)) expect(found).toEqual([1]);
    else expect(found).toMatchObject({ code: 'JOURNAL_CORRUPT' });
    expect(await soundness()).toBe(false);
  });

  test('is not written over: creating the queue again loses no message', async () => {
    const first = await manager();
    await first.createQueue(Q);
    await first.destroyQueue(Q);
    await first.createQueue(Q);
    await first.addMessage(Q, { data: 1 });
    const file = specimen.segments().at(-1)!;
    specimen.flip(file, recordOf(file, 'create').start + 40);
    const fresh = await manager();
    await fresh.createQueue(Q).catch(() => false);
    await fresh.addMessage(Q, { data: 2 }).catch(() => undefined);
    const found = await dataOf(fresh).catch(() => [1]);
    expect(found).toContain(1);
  });
});

describe('a folder without segments', () => {
  test('is refused, not taken for a new queue', async () => {
    mkdirSync(specimen.folder);
    await expectRefused(specimen, 'JOURNAL_CORRUPT', /no segment/);
    const fresh = await manager();
    await expect(fresh.createQueue(Q)).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    await expect(fresh.addMessage(Q, { data: 1 })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    expect(readdirSync(specimen.folder)).toEqual([]);
    expect(await soundness()).toBe(false);
  });

  test('after all of them were removed is refused as well', async () => {
    await segmented(2);
    for (const file of specimen.segments()) rmSync(specimen.path(file));
    await expectRefused(specimen, 'JOURNAL_CORRUPT', /no segment/);
  });
});

describe('a segment that is missing', () => {
  test('in the middle costs its own messages, not those of the others, and is reported', async () => {
    const segments = await segmented(4);
    rmSync(specimen.path(segments[1]!));
    rmSync(specimen.path(segments[1]!.replace('journal', 'index')), { force: true });
    const fresh = await manager();
    expect(await dataOf(fresh)).toEqual(of(1, 3, 4));
    const { damaged, counts } = await fresh.queueStatus(Q);
    expect(damaged).toBeGreaterThan(0);
    expect(counts.ready).toBe(9);
    expect(fresh.getLastError()).toMatchObject({ code: 'JOURNAL_CORRUPT' });
    const claims = await fresh.claimMessages(Q, { limit: 100 });
    expect(claims.map(({ data }) => data)).toEqual(of(1, 3, 4));
    expect((await verifyQueue(specimen.folder)).damage).toContainEqual(
      expect.objectContaining({ file: segments[1], kind: 'missing' }),
    );
  });

  test('in the middle, its index being there, does the same', async () => {
    const segments = await segmented(4);
    rmSync(specimen.path(segments[1]!));
    const fresh = await manager();
    const claims = await fresh.claimMessages(Q, { limit: 100 });
    expect(claims.map(({ data }) => data)).toEqual(of(1, 3, 4));
    expect((await fresh.queueStatus(Q)).damaged).toBeGreaterThan(0);
  });

  test('before the newest one costs nothing but safety', async () => {
    const segments = await segmented(3);
    const manager1 = await manager();
    for (const claim of await manager1.claimMessages(Q, { limit: 6 }))
      await manager1.completeMessage(Q, claim);
    await manager1.close();
    rmSync(specimen.path(segments[1]!));
    const fresh = await manager();
    expect(await dataOf(fresh)).toEqual(of(3));
    expect(await soundness()).toBe(false);
  });

  test('being the newest is found out', async () => {
    const segments = await segmented(3);
    rmSync(specimen.path(segments[2]!));
    await expectRefused(specimen, 'JOURNAL_CORRUPT');
    expect(await soundness()).toBe(false);
  });
});

describe('a segment cut short', () => {
  test.each([0, 1, 10, 200])(
    'to %i bytes, being the newest, is made again from its predecessor as far as it goes',
    async (size) => {
      const segments = await segmented(2);
      truncateSync(specimen.path(segments[1]!), size);
      const fresh = await manager();
      expect(await dataOf(fresh)).toEqual(of(1));
      expect((await fresh.queueStatus(Q)).damaged).toBeGreaterThan(0);
      expect(await soundness()).toBe(false);
      await fresh.addMessage(Q, { data: 'new' });
      expect(await dataOf(await manager())).toEqual([...of(1), 'new']);
    },
  );

  test('in the middle of its last record has lost that one; nothing tells it from a write that was cut off', async () => {
    const segments = await segmented(2);
    const { end } = specimen.records(segments[1]!).at(-1)!;
    truncateSync(specimen.path(segments[1]!), end - 5);
    const fresh = await manager();
    expect(await dataOf(fresh)).toEqual([...of(1), { segment: 2, n: 1 }, { segment: 2, n: 2 }]);
    await fresh.addMessage(Q, { data: 'new' });
    expect(await dataOf(await manager())).toEqual([
      ...of(1),
      { segment: 2, n: 1 },
      { segment: 2, n: 2 },
      'new',
    ]);
  });

  test('under an open handle is refused there, by its name', async () => {
    await segmented(1);
    const old = await manager();
    expect(await dataOf(old)).toEqual(of(1));
    truncateSync(specimen.path(specimen.segments()[0]!), 700);
    await expect(old.queueStatus(Q)).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringContaining('truncated') as string,
    });
  });

  test('being an older one costs what stood behind the cut', async () => {
    const segments = await segmented(3);
    const second = specimen.records(segments[1]!).filter(({ header }) => header.op === 'add')[1]!;
    truncateSync(specimen.path(segments[1]!), second.end);
    for (const name of readdirSync(specimen.folder)) if (name.endsWith('.index')) rmSync(specimen.path(name));
    const fresh = await manager();
    expect(await dataOf(fresh)).toEqual([...of(1), { segment: 2, n: 1 }, ...of(3)]);
    const claims = await fresh.claimMessages(Q, { limit: 100 });
    expect(claims).toHaveLength(7);
    expect(await soundness()).toBe(false);
  });
});

describe('in place of a segment', () => {
  /** Its messages count as lost; the others are not touched, and every refusal has a code. */
  async function expectOthers(): Promise<void> {
    const fresh = await manager();
    expect(await dataOf(fresh)).toEqual(of(1, 3, 4));
    const claims = await fresh.claimMessages(Q, { limit: 100 });
    expect(claims.map(({ data }) => data)).toEqual(of(1, 3, 4));
    expect((await fresh.queueStatus(Q)).damaged).toBeGreaterThan(0);
    expect(await soundness()).toBe(false);
  }

  test('an older one, a folder is no segment', async () => {
    const segments = await segmented(4);
    rmSync(specimen.path(segments[1]!));
    mkdirSync(specimen.path(segments[1]!));
    await expectOthers();
  });

  test('an older one, another of the queue is known by its number', async () => {
    const segments = await segmented(4);
    copyFileSync(specimen.path(segments[0]!), specimen.path(segments[1]!));
    await expectOthers();
  });

  test('an older one, without its index, another is known too', async () => {
    const segments = await segmented(4);
    copyFileSync(specimen.path(segments[2]!), specimen.path(segments[1]!));
    rmSync(specimen.path(segments[1]!.replace('journal', 'index')), { force: true });
    await expectOthers();
  });

  test('an older one, a link is not followed', async () => {
    const segments = await segmented(4);
    renameSync(specimen.path(segments[1]!), specimen.path('moved'));
    symlinkSync(specimen.path('moved'), specimen.path(segments[1]!));
    await expectOthers();
  });

  test.each(['a folder', 'a link', 'a link to nowhere'])('the newest one, %s is refused', async (what) => {
    const segments = await segmented(2);
    const path = specimen.path(segments[1]!);
    renameSync(path, specimen.path('moved'));
    if (what === 'a folder') mkdirSync(path);
    else symlinkSync(specimen.path(what === 'a link' ? 'moved' : 'nowhere'), path);
    const fresh = await manager();
    await expect(fresh.queueStatus(Q)).rejects.toMatchObject({
      code: expect.stringMatching(/^(STORAGE|JOURNAL)_/) as string,
      path: expect.any(String) as string,
    });
    await expect(fresh.addMessage(Q, { data: 1 })).rejects.toMatchObject({ name: 'QueueError' });
    await expect(dataOf(fresh)).rejects.toMatchObject({ name: 'QueueError' });
    const { sound, damage } = await verifyQueue(specimen.folder);
    expect(sound).toBe(false);
    const detail = expect.stringContaining(what === 'a link to nowhere' ? 'nowhere' : what) as string;
    expect(damage).toContainEqual(expect.objectContaining({ kind: 'missing', file: segments[1], detail }));
  });
});

describe('files that are not ours', () => {
  test('are left alone', async () => {
    const names = [
      'notes.txt',
      '.hidden',
      '00000001.journal.bak',
      'x00000001.journal',
      '1.journal',
      '00000000001.journal',
      'tmp-x',
      'core',
    ];
    await segmented(1);
    for (const name of names) writeFileSync(specimen.path(name), 'not a journal');
    mkdirSync(specimen.path('folder'));
    const fresh = await manager({ segmentBytes: 1000 });
    expect(await dataOf(fresh)).toEqual(of(1));
    for (let i = 0; i < 3; i++) await rotate(fresh, specimen);
    await fresh.close();
    expect(readdirSync(specimen.folder)).toEqual(expect.arrayContaining([...names, 'folder']));
    expect(await dataOf(await manager())).toEqual(of(1));
    expect(await soundness()).toBe(true);
  });

  test('that have the name of a later segment are refused, and nothing is done to the queue', async () => {
    await segmented(1);
    const name = '00000009.journal';
    for (const content of ['', 'not a journal', '\n', '{"op":"head"}\n', '\0'.repeat(5000)]) {
      writeFileSync(specimen.path(name), content);
      await expectRefused(specimen, 'JOURNAL_CORRUPT', /00000009\.journal is damaged/);
      expect(await soundness()).toBe(false);
    }
    rmSync(specimen.path(name));
    expect(await dataOf(await manager())).toEqual(of(1));
  });

  test('that have the name of an index are made anew', async () => {
    const segments = await segmented(3);
    for (const file of segments)
      writeFileSync(specimen.path(file.replace('journal', 'index')), 'not an index');
    const fresh = await manager();
    expect(await dataOf(fresh)).toEqual(of(1, 2, 3));
  });
});

describe('a journal of a newer version', () => {
  test.each(['format', 'rules'])(
    'is refused by its %s, whatever one wants of it, and nothing is written',
    async (field) => {
      const [file] = await segmented(1);
      rewrite(file!, (header) => (header['op'] === 'head' ? { ...header, [field]: 2 } : header));
      const before = readFileSync(specimen.path(file!));
      const fresh = await manager();
      const newer = {
        code: 'JOURNAL_NEWER',
        message: expect.stringMatching(/format \d and rules \d/) as string,
      };
      await expect(fresh.queueStatus(Q)).rejects.toMatchObject(newer);
      await expect(fresh.addMessage(Q, { data: 1 })).rejects.toMatchObject(newer);
      await expect(fresh.claimMessages(Q)).rejects.toMatchObject(newer);
      await expect(fresh.createQueue(Q)).rejects.toMatchObject(newer);
      await expect(fresh.destroyQueue(Q)).rejects.toMatchObject(newer);
      await expect(verifyQueue(specimen.folder)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
      expect(readFileSync(specimen.path(file!))).toEqual(before);
    },
  );

  test('that has an operation unknown to this one is refused, its messages are left alone', async () => {
    const [file] = await segmented(1);
    const unknown = written([{ header: { op: 'merge', w: 'ffffffffffffffff', n: 1, t: 1 } }]);
    writeFileSync(specimen.path(file!), Buffer.concat([readFileSync(specimen.path(file!)), unknown]));
    const fresh = await manager();
    await expect(dataOf(fresh)).rejects.toMatchObject({
      code: 'JOURNAL_NEWER',
      message: expect.stringContaining('merge') as string,
    });
    await expect(fresh.claimMessages(Q)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    await expect(verifyQueue(specimen.folder)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
  });

  test('is refused by whoever follows to it over a seal', async () => {
    const old = await manager();
    await old.createQueue(Q);
    await old.addMessage(Q, { data: 1 });
    await old.queueStatus(Q);
    await rotate(await manager({ segmentBytes: 1000 }), specimen);
    rewrite(specimen.segments().at(-1)!, (header) =>
      header['op'] === 'head' ? { ...header, rules: 2 } : header,
    );
    await expect(old.addMessage(Q, { data: 2 })).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    await expect(old.queueStatus(Q)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
  });
});
