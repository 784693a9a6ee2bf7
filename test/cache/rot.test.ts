/** A changed byte in each kind of operation, in real folders: nothing sound is lost, nothing damaged is returned. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { QueueManager } from '../../src/index.ts';
import { damaged, examine, SPOTS, truthOf, type Allowed, type Truth } from '../support/examine.ts';
import { everyOperation, openManager, Q, rotate, Specimen, type RecordAt } from '../support/specimen.ts';

const OPERATIONS = [
  'add',
  'update',
  'set',
  'claim',
  'renew',
  'done',
  'fail',
  'release',
  'lapse',
  'cancel',
  'remove',
  'retry',
  'purge',
  'pause',
  'resume',
  'attr',
  'processed',
  'writer',
  'boot',
];
/** Those without which a message that has ended may seem not to have; lost settles deliver again. */
const ENDING = new Set([
  'claim',
  'done',
  'remove',
  'purge',
  'lapse',
  'cancel',
  'create',
  'resume',
  'set',
  'fail',
  'retry',
  'release',
]);

let sound: Specimen;
let truth: Truth;
/** As `sound`, one seal later. */
let older: Specimen;

beforeAll(async () => {
  sound = new Specimen();
  await everyOperation(sound.root);
  truth = await truthOf(sound);
  older = sound.copy();
  const manager = await openManager(older.root, { segmentBytes: 1000 });
  await rotate(manager, older);
  await manager.close();
});

afterAll(() => {
  for (const specimen of [sound, older]) specimen.dispose();
});

/** The records of one kind in a segment; of adds, those of messages that are alive. */
function ofKind(specimen: Specimen, file: string, op: string, alive: Truth): RecordAt[] {
  return specimen.records(file).filter(({ header }) => {
    return header.op === op && (op !== 'add' || alive.messages.has(header['u'] as string));
  });
}

/** `purges`: behind it stands a purge. It spares what may have been claimed where nothing is legible. */
function allowed({ header }: RecordAt, purges = false): Allowed {
  const own = header.op === 'add' || header.op === 'carry' ? [header['u'] as string] : [];
  return {
    lost: new Set(own),
    back: purges || ENDING.has(header.op),
    changed: !['add', 'carry'].includes(header.op),
  };
}

describe.each(OPERATIONS)('in the current segment, a changed byte in the record %s', (op) => {
  test.each(SPOTS)('in %s', (_, spot) =>
    damaged(sound, async (copy) => {
      const file = copy.segments().at(-1)!;
      const record = ofKind(copy, file, op, truth).at(-1)!;
      const purge = ofKind(copy, file, 'purge', truth).at(-1)!;
      copy.flip(file, spot(record));
      await examine(copy, truth, allowed(record, record.start < purge.start));
    }),
  );
});

test.each(OPERATIONS)('a changed newline behind the record %s costs nothing', (op) =>
  damaged(sound, async (copy) => {
    const file = copy.segments().at(-1)!;
    const records = ofKind(copy, file, op, truth);
    // The last add has nothing behind it: without its newline it looks unfinished, until another write ends its line.
    copy.flip(file, (op === 'add' ? records[0]! : records.at(-1)!).end);
    await examine(copy, truth);
  }),
);

describe.each(OPERATIONS)('in an older segment, a changed byte in the record %s', (op) => {
  test.each(SPOTS.slice(2))('in %s', (_, spot) =>
    damaged(older, async (copy) => {
      const file = copy.segments().at(-2)!;
      const record = ofKind(copy, file, op, truth).at(-1)!;
      copy.flip(file, spot(record));
      // The head knows what became of every message; only contents are needed of the segment.
      const holds = op === 'add' || op === 'update';
      const lost = new Set(holds ? [record.header['u'] as string] : []);
      await examine(copy, truth, { lost, unread: !holds });
    }),
  );
});

describe('who takes one message at a time passes over those that cannot be read', () => {
  const NUMBERS = [1, 2, 3, 4, 5, 6];

  async function taken(
    copy: Specimen,
    next: (manager: QueueManager) => Promise<unknown>,
  ): Promise<unknown[]> {
    const manager = await openManager(copy.root);
    const found: unknown[] = [];
    for (let data = await next(manager); data !== undefined; data = await next(manager)) found.push(data);
    await manager.close();
    return found;
  }

  let numbered: Specimen;

  beforeAll(async () => {
    numbered = new Specimen();
    const manager = await openManager(numbered.root);
    await manager.createQueue(Q);
    for (const data of NUMBERS) await manager.addMessage(Q, { data });
    await rotate(manager, numbered);
    await manager.close();
    const [file] = numbered.segments();
    const adds = numbered.records(file!).filter(({ header }) => header.op === 'add');
    // In an older segment: the index still says that they are there.
    for (const i of [1, 2, 4]) numbered.flip(file!, adds[i]!.end - 2);
  });

  afterAll(() => numbered.dispose());

  test.each([
    ['by getMessage', async (manager: QueueManager) => (await manager.getMessage(Q))?.data],
    ['by a claim of one', async (manager: QueueManager) => (await manager.claimMessages(Q))[0]?.data],
  ])('%s', (_, next) =>
    damaged(numbered, async (copy) => {
      expect((await taken(copy, next)).slice(0, 3)).toEqual([1, 4, 6]);
    }),
  );
});
