/**
 * A handle that only adds, whose segment's head rots, and whose predecessor has lost its seal: it cannot go on, and says so each time. It
 * has looked into the predecessor, but nothing that it adds may get there.
 */
import { expect, test } from 'vitest';
import { segmentName } from '../../src/cache/files.ts';
import { FOLDER, JournalWriter } from '../support/journal-writer.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { recordsIn } from '../support/specimen.ts';

const [FIRST, SECOND] = [1, 2].map((segment) => `${FOLDER}/${segmentName(segment)}`) as [string, string];

test('is refused again, and nothing is added to the segment before', async () => {
  const machine = new SimMachine(new Seeded(1));
  const { fs } = machine;
  const writer = await JournalWriter.create(machine.process(), fs);
  writer.write({ op: 'add', u: '01a0c450-6c02-7000-8000-2e65bbd84e32' }, '"sound"');
  await writer.rotate();
  const backend = await openOn(machine);
  const queue = await backend.open('q');
  await queue.add([messageOf('sound, too')]);
  const contentOf = (path: string): Buffer => Buffer.from(fs.contents(path));
  const table = recordsIn(contentOf(SECOND)).find(({ header }) => header.op === 'segment')!;
  fs.corrupt(SECOND, table.start + 40, Buffer.from('X'));
  const old = contentOf(FIRST);
  const seal = recordsIn(old).find(({ header }) => header.op === 'seal')!;
  fs.remove(FIRST);
  const fd = fs.open(FIRST, 'create');
  fs.write(fd, old, 0, seal.start);
  fs.close(fd);
  const corrupt = { code: 'JOURNAL_CORRUPT' };
  await expect(queue.status()).rejects.toMatchObject(corrupt);
  await expect(queue.add([messageOf('nowhere')])).rejects.toMatchObject(corrupt);
  await expect(queue.status()).rejects.toMatchObject(corrupt);
  expect(contentOf(FIRST)).toHaveLength(seal.start);
  await backend.close();
});
