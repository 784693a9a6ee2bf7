/**
 * A process that is stopped right after it has read the log to its end, while others carry a message to a newer segment, and delete the
 * file that it stood in, is told of no damage when it goes on: the message is where the others have put it.
 */
import { beforeEach, expect, test } from 'vitest';
import { segmentName } from '../../src/cache/files.ts';
import { HandOver } from '../../src/cache/hand-over.ts';
import type { Journal } from '../../src/cache/journal.ts';
import { Liveness } from '../../src/cache/liveness.ts';
import type { Draft } from '../../src/cache/log.ts';
import { Search } from '../../src/cache/search.ts';
import { segmentOf } from '../../src/cache/position.ts';
import { toWhere } from '../../src/cache/where.ts';
import type { QueueError } from '../../src/errors.ts';
import type { Claim, Message } from '../../src/message.ts';
import { FOLDER, JournalWriter } from '../support/journal-writer.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';

const CLAIM = '00000000000000a1.c';

let others: JournalWriter;
let journal: Journal;
let at: number;
let reports: QueueError[];
/** How often it is stopped from now on. */
let stops: number;

/** Two rotations: the first carries what the oldest segment holds, behind the second one that file is spent. */
async function carryOn(): Promise<void> {
  const place = others.state.touched.get(at)!.place;
  await others.rotate({ carry: true });
  expect(others.state.touched.get(at)!.place).not.toBe(place);
  await others.rotate();
  for (const segment of [1, 2, 3, 4, 5, 6, 7])
    if (segment < others.state.segment - 1 && others.fs.kind(pathOf(segment)) === 'file') spend(segment);
}

function pathOf(segment: number): string {
  return `${FOLDER}/${segmentName(segment)}`;
}

function spend(segment: number): void {
  const needed = [...others.state.touched.values()].some(({ place }) => segmentOf(place) === segment);
  if (!needed) others.fs.remove(pathOf(segment));
}

beforeEach(async () => {
  const machine = new SimMachine(new Seeded(1));
  others = await JournalWriter.create(machine.process(), machine.fs);
  const uuid = '01a0c450-6c02-7000-8000-2e65bbd84e32';
  ({ at } = others.write({ op: 'add', u: uuid }, '"sound"'));
  others.write({ op: 'claim', k: 'c', m: 0, ms: 1e9, max: 1, c: toWhere([at]) });
  await others.rotate();
  reports = [];
  journal = await others.open((error) => reports.push(error));
  stops = 0;
  const refresh = journal.refresh.bind(journal);
  journal.refresh = async () => {
    await refresh();
    if (stops-- > 0) await carryOn();
  };
});

test.each([1, 2])('a claimed message is handed over, however often that happens (%i)', async (times) => {
  const settled: Draft[] = [];
  const settle = async (draft: Draft): Promise<void> => void settled.push(draft);
  const liveness = new Liveness(journal.options.ports, 3);
  const handOver = new HandOver({ queue: 'q', journal, liveness, settle });
  await carryOn();
  stops = times;
  const claims: Claim[] = await handOver.messages(CLAIM, [at]);
  expect(claims).toMatchObject([{ data: 'sound' }]);
  expect(settled).toEqual([]);
  expect(reports).toEqual([]);
  await journal.close();
});

test('a message is found, and nothing is noted as damaged', async () => {
  await carryOn();
  stops = 1;
  const found: Message[] = [];
  for await (const message of new Search(journal).messages({ state: 'claimed' })) found.push(message);
  expect(found).toMatchObject([{ data: 'sound' }]);
  expect(journal.state.damage).toEqual([]);
  expect(reports).toEqual([]);
  await journal.close();
});

test('a failed message is found, to be retried', async () => {
  const error = { at: '', attempt: 1, name: 'Error', message: 'no' };
  others.write({ op: 'fail', k: CLAIM, c: toWhere([at]) }, JSON.stringify(error));
  await journal.refresh();
  await carryOn();
  stops = 1;
  const { content } = journal.log.contents.read(journal.state, at) ?? { content: undefined };
  expect(content).toBeUndefined();
  const uuid = '01a0c450-6c02-7000-8000-2e65bbd84e32';
  expect(await new Search(journal).failed(new Set([uuid]))).toEqual([at]);
  await journal.close();
});

test('what is damaged is set aside all the same, and so is what stands in a file that is gone with nobody having gone on', async () => {
  const settled: Draft[] = [];
  const settle = async (draft: Draft): Promise<void> => void settled.push(draft);
  const liveness = new Liveness(journal.options.ports, 3);
  const handOver = new HandOver({ queue: 'q', journal, liveness, settle });
  others.fs.remove(pathOf(1));
  expect(await handOver.messages(CLAIM, [at])).toEqual([]);
  expect(settled).toMatchObject([{ op: { op: 'fail', k: CLAIM } }]);
  expect(reports).toMatchObject([{ code: 'JOURNAL_CORRUPT' }]);
  await journal.close();
});
