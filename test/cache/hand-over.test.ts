/** What cannot be handed over because the system refuses to look is given back at once: the sound ones of that claim, too. */
import { expect, test } from 'vitest';
import { HandOver } from '../../src/cache/hand-over.ts';
import { Liveness } from '../../src/cache/liveness.ts';
import type { Draft } from '../../src/cache/log.ts';
import { toWhere } from '../../src/cache/where.ts';
import { JournalWriter } from '../support/journal-writer.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';

test('where a damaged one makes it look for newer segments, and the folder cannot be listed', async () => {
  const machine = new SimMachine(new Seeded(1));
  const writer = await JournalWriter.create(machine.process(), machine.fs);
  const one = writer.write({ op: 'add', u: '01a0c450-6c02-7000-8000-2e65bbd84e32' }, '"one"').at;
  const two = writer.write({ op: 'add', u: '01a0c450-6c02-7000-8000-2e65bbd84e33' }, '{no json').at;
  writer.write({ op: 'claim', k: 'c', m: 0, ms: 1e9, max: 2, c: toWhere([one, two]) });
  await writer.rotate();
  const journal = await writer.open();
  const settled: Draft[] = [];
  const settle = async (draft: Draft): Promise<void> => void settled.push(draft);
  const handOver = new HandOver({ queue: 'q', journal, liveness: new Liveness(writer.ports, 3), settle });
  const { fs } = journal.options.ports;
  const listed = fs.list.bind(fs);
  fs.list = () => {
    throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
  };
  const claim = `${writer.writer}.c`;
  await expect(handOver.messages(claim, [one, two])).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  fs.list = listed;
  expect(settled).toEqual([{ op: { op: 'release', k: claim, c: toWhere([one, two]) } }]);
  await journal.close();
});
