/** The newest file is cut off within its head: what stood behind that is gone, whoever goes on with the queue. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import { specimenTest as test } from '../support/on-specimen.ts';
import { expectWhole, first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, type Specimen } from '../support/specimen.ts';

const [FIRST, SECOND] = ['00000001.journal', '00000002.journal'] as const;

/** Three wait in the first segment, and two in the second, the last one changed. */
async function twoSegments(specimen: Specimen): Promise<void> {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  for (let n = 0; n < 3; n++) await manager.addMessage(Q, { data: { n, text: 'x'.repeat(60_000) } });
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: 'second' });
  const { uuid } = await manager.addMessage(Q, { data: 'before' });
  await manager.updateMessage(Q, uuid, { data: 'changed' });
  await manager.close();
}

/** Others add two messages, in segments of that many bytes. */
async function goOn(specimen: Specimen, segmentBytes?: number): Promise<void> {
  const others = await openManager(specimen.root, segmentBytes === undefined ? {} : { segmentBytes });
  await others.addMessage(Q, { data: { since: 1, text: 'y'.repeat(2000) } });
  await others.addMessage(Q, { data: { since: 2, text: 'y'.repeat(2000) } });
  await others.close();
}

const SPOTS: Record<string, (specimen: Specimen) => number> = {
  'at its very beginning': () => 0,
  'within its first record': (specimen) => first(specimen, SECOND, 'head').start + 90,
  'within a later one': (specimen) => first(specimen, SECOND, 'segment').start + 40,
  'between two': (specimen) => first(specimen, SECOND, 'segment').end + 1,
  'within its last record': (specimen) => first(specimen, SECOND, 'ready').end - 5,
};

for (const [where, spot] of Object.entries(SPOTS))
  test.for([
    ['', undefined],
    [' in further segments', 1000],
  ] as const)(
    `a file that was cut off in its head, ${where}, is told when others have gone on%s`,
    async ([, segmentBytes], { specimen }) => {
      await twoSegments(specimen);
      truncateSync(specimen.path(SECOND), spot(specimen));
      await goOn(specimen, segmentBytes);
      const { damage } = await verifyQueue(specimen.folder);
      expect(damage.find(({ file, kind }) => file === SECOND && kind === 'missing')?.detail).toContain('cut');
      const report = await repair(specimen);
      // What is left of the first may have ended in what is gone: one had; and nothing that was added since.
      expect(report).toMatchObject({ sound: true, lost: [], gone: [SECOND], messages: 6, doubtful: 4 });
      const ended = expect.any(String) as string;
      const found = [...(await messagesOf(specimen)).values()].map(({ data }) => data);
      expect(found).toMatchObject([{ n: 0 }, { n: 1 }, { n: 2 }, ended, { since: 1 }, { since: 2 }]);
      expect(await repair(specimen)).toMatchObject({ outcome: 'sound', gone: [] });
      specimen.flip(FIRST, first(specimen, FIRST, 'add').end - 3);
      expect(await repair(specimen)).toMatchObject({ lost: [{ count: 1 }], gone: [], doubtful: 0 });
      await expectWhole(specimen);
    },
  );

test('one of whose head the last record is damaged is not', async ({ specimen }) => {
  await twoSegments(specimen);
  specimen.flip(SECOND, first(specimen, SECOND, 'ready').start + 40);
  await goOn(specimen);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], gone: [], messages: 7, doubtful: 0 });
});

test.for(['a byte', 'all'])(
  'nor one in which %s of it is gone from the midst',
  async (what, { specimen }) => {
    await twoSegments(specimen);
    const { start, end } = first(specimen, SECOND, 'ready');
    const whole = readFileSync(specimen.path(SECOND));
    const [from, to] = what === 'all' ? [start, end + 1] : [start + 40, start + 41];
    writeFileSync(specimen.path(SECOND), Buffer.concat([whole.subarray(0, from), whole.subarray(to)]));
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], gone: [], messages: 5 });
    const found = [...(await messagesOf(specimen)).values()].map(({ data }) => data);
    expect(found.slice(3)).toEqual(['second', 'changed']);
  },
);
