/**
 * The file that the log has chosen as the next segment is there, whatever its maker is told and whenever the power goes.
 * Found by the model (model/rotation.pml): its variants `discard-early` and `rewrite-after-error`.
 */
import { describe, expect, test } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { Batch } from '../../src/cache/record.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FIRST = `/srv/${Q}/00000001.journal`;
const SECOND = `/srv/${Q}/00000002.journal`;
const PAGE = 4096;
/** A segment that holds it is due to be sealed, where segments are small. */
const LARGE = 'x'.repeat(3000);

async function open(machine: SimMachine, segmentBytes: number): Promise<Queue> {
  const backend = await openOn(machine, { segmentBytes });
  await backend.create(Q, {});
  return backend.open(Q);
}

async function dataOf(queue: Queue): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const { data } of queue.find({})) found.push(data);
  return found;
}

/** Whether a write is of a note, and not of a record that speaks of one. */
function isNote(bytes: Uint8Array, offset: number, length: number): boolean {
  return Buffer.from(bytes.subarray(offset, offset + length)).includes('{"op":"next"');
}

describe('two processes note a successor each, and the power goes when one has removed its own', () => {
  interface Race {
    acknowledged: unknown[];
    /** Offsets at which notes were written. */
    notes: number[];
    after: SimMachine;
  }

  /** @param padding moves the notes to where a page ends between them. */
  async function race(seed: number, padding: number): Promise<Race> {
    const machine = new SimMachine(new Seeded(seed));
    const { fs, clock } = machine;
    const acknowledged = [LARGE + 'x'.repeat(padding)];
    const sealing = await open(machine, 100);
    const [second, third] = [await open(machine, 1e6), await open(machine, 1e6)];
    const notes: number[] = [];
    let written = false;
    const write = fs.write.bind(fs);
    fs.write = (fd, bytes, offset, length, position) => {
      const at = fs.contents(FIRST).length;
      if (isNote(bytes, offset, length)) notes.push(at);
      const count = write(fd, bytes, offset, length, position);
      written ||= length > 20_000;
      // So much, behind the seal, that the end of the file is far from the notes.
      if (notes.length === 2 && notes[1] === at)
        third.add([messageOf('x'.repeat(30_000))]).catch(() => undefined);
      return count;
    };
    // The second process takes the making upon itself, and is about to write its note when the first one writes its own,
    // the flush of which takes long.
    const heads = [100, 40];
    const flushes = [50, 1, 400];
    let takes = 1;
    fs.latency = () => clock.sleep(takes);
    let removed = false;
    const cut = new Promise<SimMachine>((resolve) => {
      fs.onOperation = (operation, path) => {
        if (written && (removed || operation === 'rename')) resolve(machine.powerCut('pages'));
        removed ||= operation === 'remove' && path.includes('tmp-');
        takes = 1;
        if (operation !== 'sync') return;
        if (path.includes('tmp-')) takes = heads.shift()!;
        else if (heads.length < 2) takes = flushes.shift() ?? 1;
      };
    });
    await sealing.add([messageOf(acknowledged[0])]);
    // Finds the seal.
    second.status().catch(() => undefined);
    return { acknowledged, notes, after: await cut };
  }

  test('the queue goes on with the file that the first note names', async () => {
    const { notes } = await race(1, 0);
    expect(notes).toHaveLength(2);
    const padding = (2 * PAGE - 60 - (notes[0]! % PAGE)) % PAGE;
    for (let seed = 1; seed <= 40; seed++) {
      const { acknowledged, after } = await race(seed, padding);
      const queue = await open(after, 100);
      await queue.add([messageOf('on')]);
      expect(await dataOf(queue), `seed ${seed}`).toEqual([...acknowledged, 'on']);
    }
  });
});

describe('the maker of a successor is told of an error, although its note is in the log', () => {
  /** Notes are written, and refused or not to be read back. */
  const faults: [string, (machine: SimMachine) => void][] = [
    [
      'in writing it',
      ({ fs }) => {
        const write = fs.write.bind(fs);
        fs.write = (fd, bytes, offset, length, position) => {
          const written = write(fd, bytes, offset, length, position);
          if (!isNote(bytes, offset, length)) return written;
          fs.write = write;
          throw errno('EIO', FIRST);
        };
      },
    ],
    [
      'in reading it back',
      ({ fs }) => {
        const write = fs.write.bind(fs);
        fs.write = (fd, bytes, offset, length, position) => {
          const written = write(fd, bytes, offset, length, position);
          if (!isNote(bytes, offset, length)) return written;
          fs.write = write;
          fs.onOperation = (operation, path) => {
            if (path !== FIRST) return;
            fs.onOperation = undefined;
            throw errno('EIO', `${operation} ${path}`);
          };
          return written;
        };
      },
    ],
  ];

  describe.each(faults)('%s', (_, fault) => {
    test('and tries again when others work in the new segment already: nothing of theirs is lost', async () => {
      const machine = new SimMachine(new Seeded(1));
      const [maker, other] = [await open(machine, 100), await open(machine, 1e6)];
      fault(machine);
      await maker.add([messageOf(LARGE)]);
      await machine.clock.sleep(20);
      await other.add([messageOf('of another')]);
      await maker.add([messageOf('again')]);
      expect(await dataOf(other)).toEqual([LARGE, 'of another', 'again']);
      expect(machine.fs.list(`/srv/${Q}`).filter((name) => name.startsWith('tmp-'))).toEqual([]);
    });

    test('and closes: others go on with its file', async () => {
      const machine = new SimMachine(new Seeded(1));
      const [maker, other] = [await open(machine, 100), await open(machine, 1e6)];
      fault(machine);
      await maker.add([messageOf(LARGE)]);
      await maker.close();
      await other.add([messageOf('of another')]);
      expect(await dataOf(other)).toEqual([LARGE, 'of another']);
    });
  });
});

test('a note that has rotted since lets no other file take the place of the segment that it named', async () => {
  const machine = new SimMachine(new Seeded(1));
  const { fs } = machine;
  // It reads no further before the note has rotted.
  const late = await open(machine, 100);
  await late.status();
  const sealing = await open(machine, 100);
  await sealing.add([messageOf(LARGE)]);
  await sealing.add([messageOf('acknowledged')]);
  await sealing.close();
  const first = fs.contents(FIRST).toString();
  const [, prefix = ''] = /\n(\["[^\n]*)"op":"next"/.exec(first) ?? [];
  const at = first.indexOf(prefix + '"op":"next"');
  const note = first.slice(at, first.indexOf('\n', at));
  const [, header] = JSON.parse(note) as [string, { r: string }];
  // Another process had made a head too, noted it, and died before it could remove it.
  const second = fs.contents(SECOND);
  const other = 'ffffffffffffffff';
  const batch = new Batch();
  batch.add(JSON.stringify({ ...header, r: other, w: '00000000000000ff', n: 1 }));
  put(fs, `/srv/${Q}/tmp-00000002-${other}`, second.subarray(0, headEnd(second)));
  put(fs, FIRST, batch.buffer.subarray(0, batch.length));
  fs.corrupt(FIRST, at + note.indexOf('"next"'), Buffer.from('"nixt"'));
  await late.add([messageOf('behind')]);
  expect(await dataOf(late)).toEqual(expect.arrayContaining(['acknowledged', 'behind']));
});

/** Appends to a file. */
function put(fs: SimMachine['fs'], path: string, bytes: Uint8Array): void {
  const fd = fs.open(path, fs.kind(path) === undefined ? 'create' : 'append');
  fs.write(fd, bytes, 0, bytes.length);
  fs.close(fd);
}

/** Where the head of a segment ends: behind the line that says that it is whole. */
function headEnd(segment: Buffer): number {
  return segment.indexOf('\n', segment.indexOf('"op":"ready"')) + 1;
}
