/** A message that was put off, and of which an update is left: its date stood in the record that added it, of which a digit has rotted. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import { filledBy } from '../support/on-specimen.ts';
import { messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, type Specimen } from '../support/specimen.ts';

const DUE = 4_111_222_333_444;

const test = filledBy(async ({ root }) => {
  const manager = await openManager(root);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, {
    data: 'before',
    dateTimeDeferredExecution: new Date(DUE),
  });
  await manager.updateMessage(Q, uuid, { data: 'after' });
  await manager.close();
  return [uuid];
});

/** Repaired when these bits of that record have changed: what it tells, and when the message is due. */
async function repaired(
  specimen: Specimen,
  [uuid]: readonly string[],
  flips: (line: Buffer) => [at: number, bit: number][],
): Promise<{ report: RepairReport; due: number | undefined }> {
  const copy = specimen.copy();
  try {
    const [file] = copy.segments();
    const { start, end } = copy.records(file!).find(({ header }) => header.op === 'add')!;
    const bytes = readFileSync(copy.path(file!));
    const line = bytes.subarray(start, end);
    for (const [at, bit] of flips(line)) line[at]! ^= 1 << bit;
    writeFileSync(copy.path(file!), bytes);
    const report = await repair(copy);
    const message = (await messagesOf(copy)).get(uuid!);
    expect(message).toMatchObject({ data: 'after' });
    return { report, due: message!.dateTimeDeferredExecution?.getTime() };
  } finally {
    copy.dispose();
  }
}

function digitsIn(line: Buffer): number {
  return line.indexOf(`${DUE}`);
}

test('is known by the checksum, whichever bit it is', { timeout: 60_000 }, async ({ specimen, uuids }) => {
  for (const digit of [0, 1, 6, 12]) {
    for (const bit of [0, 1, 2, 3]) {
      const { report, due } = await repaired(specimen, uuids, (line) => [[digitsIn(line) + digit, bit]]);
      expect({ digit, bit, due, doubtful: report.doubtful }).toEqual({ digit, bit, due: DUE, doubtful: 0 });
    }
  }
});

test('is known where another bit of the record has rotted', async ({ specimen, uuids }) => {
  const { report, due } = await repaired(specimen, uuids, (line) => [[line.length - 3, 0]]);
  expect({ due, doubtful: report.doubtful }).toEqual({ due: DUE, doubtful: 0 });
});

test('may be another where more has rotted, and the repair tells so', async ({ specimen, uuids }) => {
  const { report, due } = await repaired(specimen, uuids, (line) => [
    [digitsIn(line) + 3, 0],
    [line.length - 3, 0],
  ]);
  expect(due).not.toBe(DUE);
  expect(report).toMatchObject({ outcome: 'repaired', doubtful: 1 });
});
