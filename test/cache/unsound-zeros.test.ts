/** Zeros that a failed flush has left are no damage, once the log says that one has failed: whoever met them before. */
import { expect, test } from 'vitest';
import { segmentName } from '../../src/cache/files.ts';
import type { Operation } from '../../src/cache/operations.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { FOLDER, JournalWriter } from '../support/journal-writer.ts';
import { line } from '../support/scan.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { recordsIn } from '../support/specimen.ts';

const UUID = '01a0c450-6c02-7000-8000-2e65bbd84e32';
const OTHER = '01a0c450-6c02-7000-8000-2e65bbd84e33';
const ZEROS = Buffer.from(`\n${'\0'.repeat(60)}\n`);

async function begin(): Promise<JournalWriter> {
  const machine = new SimMachine(new Seeded(1));
  const writer = await JournalWriter.create(machine.process(), machine.fs);
  writer.write({ op: 'add', u: UUID }, '"sound"');
  return writer;
}

function damageInHead({ fs }: JournalWriter, segment: number): unknown[] {
  const records = recordsIn(Buffer.from(fs.contents(`${FOLDER}/${segmentName(segment)}`)));
  return records.filter(({ header }) => header.op === 'damage');
}

test('a head that is made behind the word of it tells of none', async () => {
  const writer = await begin();
  writer.raw(ZEROS);
  writer.seal();
  writer.write({ op: 'unsound', ctl: 1 });
  const journal = await writer.open();
  expect(journal.state).toMatchObject({ segment: 2, damage: [] });
  await journal.close();
  expect(damageInHead(writer, 2)).toEqual([]);
  const { sound, damage } = await verifyQueue(FOLDER, writer.ports);
  expect({ sound, kinds: damage.map(({ kind }) => kind) }).toEqual({ sound: true, kinds: ['torn'] });
});

test('but of what had been on the device it does', async () => {
  const writer = await begin();
  writer.raw(ZEROS);
  writer.write({ op: 'pause', s: writer.size } as Operation);
  writer.seal();
  writer.write({ op: 'unsound', ctl: 1 });
  const journal = await writer.open();
  expect(journal.state.damage).toHaveLength(1);
  await journal.close();
  expect(damageInHead(writer, 2)).toHaveLength(1);
});

test('none where the very seal says that a flush has failed', async () => {
  const writer = await begin();
  writer.raw(ZEROS);
  writer.seal('sync');
  const journal = await writer.open();
  expect(journal.state).toMatchObject({ segment: 2, damage: [] });
  await journal.close();
});

test('a head that was made before is not taken for one of a file that was put back', async () => {
  const writer = await begin();
  writer.raw(ZEROS);
  const journal = await writer.open();
  expect(journal.state.segment).toBe(2);
  await journal.close();
  expect(damageInHead(writer, 2)).toHaveLength(1);
  // Behind its seal.
  writer.write({ op: 'unsound', ctl: 1 });
  const { sound, damage } = await verifyQueue(FOLDER, writer.ports);
  expect({ sound, kinds: damage.map(({ kind }) => kind) }).toEqual({ sound: true, kinds: ['torn'] });
});

test('nor is a record missed of which a power cut has left the beginning, though a flush had begun in its midst', async () => {
  const writer = await begin();
  const at = writer.size + 1;
  const header = { op: 'add', u: OTHER, w: writer.writer, n: 9, t: writer.time };
  const cut = line({ header, payload: '"cut off"' }).slice(0, 60);
  writer.raw(Buffer.from(`\n${cut}${'\0'.repeat(60)}\n`));
  writer.write({ op: 'remove', p: [1, at], u: OTHER, s: at + 30 } as Operation);
  writer.write({ op: 'boot', ctl: 1, id: 'another-boot' });
  const journal = await writer.open();
  expect(journal.state.damage).toEqual([]);
  await journal.close();
});

test('nor an update that was cut off so, over which another was written', async () => {
  const writer = await begin();
  const { start } = recordsIn(Buffer.from(writer.fs.contents(writer.path))).find(
    ({ header }) => header.op === 'add',
  )!;
  const p: [number, number] = [1, start];
  const at = writer.size + 1;
  const update = { op: 'update', p, i: writer.time, u: UUID } as const;
  const header = { ...update, at: p, w: writer.writer, n: 9, t: writer.time };
  const cut = line({ header, payload: '"cut off"' }).slice(0, 60);
  writer.raw(Buffer.from(`\n${cut}${'\0'.repeat(60)}\n`));
  writer.write({ ...update, at: [1, at], s: at + 30 } as unknown as Operation, '"next"');
  writer.write({ op: 'boot', ctl: 1, id: 'another-boot' });
  const journal = await writer.open();
  expect(journal.state.damage).toEqual([]);
  await journal.close();
});

test('what the mark of a restart says of flushes does not show that they had been on the device before', async () => {
  const writer = await begin();
  writer.raw(ZEROS);
  writer.write({ op: 'boot', ctl: 1, id: 'another-boot', s: writer.size } as Operation);
  const journal = await writer.open();
  expect(journal.state.damage).toEqual([]);
  await journal.close();
  expect(await verifyQueue(FOLDER, writer.ports)).toMatchObject({ sound: true });
});
