/** What is asked of very many stretches of a file is answered as by who looks at each of them. */
import {
  array,
  assert,
  asyncProperty,
  boolean,
  constantFrom,
  nat,
  property,
  record,
  tuple,
  type Arbitrary,
} from 'fast-check';
import { expect, test } from 'vitest';
import { Ranges, type Range } from '../../src/cache/ranges.ts';
import { missingAddsIn, unnamedIn } from '../../src/cache/repair/untold.ts';
import { openGaps, surveySegment, wasUnsynced, type BadRange, type Survey } from '../../src/cache/survey.ts';
import { asciiJson, Batch, PREFIX } from '../../src/cache/record.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';

const small = nat(40);
const range = tuple(small, small).map(([from, length]): Range => [from, from + (length % 9)]);

test('which of them hold a byte, reach over others, or lie within', () => {
  assert(
    property(array(range, { maxLength: 12 }), small, small, (ranges, a, b) => {
      const [from, to] = a < b ? [a, b] : [b, a];
      const all = new Ranges(ranges);
      expect({ has: all.has(a), covers: all.anyCovers(from, to), within: all.anyWithin(from, to) }).toEqual({
        has: ranges.some((each) => each[0] <= a && a < each[1]),
        covers: ranges.some((each) => each[0] <= from && to <= each[1]),
        within: ranges.some((each) => each[0] >= from && each[1] <= to),
      });
    }),
  );
});

/** Lines of three writers, of which some are gone, cut off, changed, zeros, or a restart of the machine. */
const lineOf = record({
  writer: nat(2),
  fate: constantFrom('whole', 'whole', 'gone', 'gone', 'cut', 'short', 'bit', 'zeros', 'boot'),
  isAdd: boolean(),
});

function fileOf(lines: readonly (typeof lineOf extends Arbitrary<infer T> ? T : never)[]): Buffer {
  const numbers = [0, 0, 0];
  const parts = lines.map(({ writer, fate, isAdd }, i) => {
    const w = String(writer).repeat(16);
    const u = `01a0c450-6c02-7000-8000-${String(i).padStart(12, '0')}`;
    const op = fate === 'boot' ? { op: 'boot', ctl: 1, id: 'b' } : isAdd ? { op: 'add', u } : { op: 'pause' };
    const batch = new Batch();
    batch.add(
      asciiJson({ ...op, w, n: ++numbers[writer]!, t: i }),
      isAdd && fate !== 'boot' ? '1' : undefined,
    );
    const text = batch.buffer.toString('latin1', 1, batch.length);
    if (fate === 'gone') return '';
    if (fate === 'cut') return `${text.slice(0, -5)}\n`;
    if (fate === 'short') return '["0\n';
    if (fate === 'bit') return `${text.slice(0, 3)}${text[3] === '0' ? '1' : '0'}${text.slice(4)}`;
    return fate === 'zeros' ? `${'\0'.repeat(text.length - 1)}\n` : text;
  });
  return Buffer.from(`\n${parts.join('')}`, 'latin1');
}

async function surveyOf(bytes: Buffer): Promise<Survey> {
  const machine = new SimMachine(new Seeded(1));
  const fd = machine.fs.open('/srv/one', 'create');
  machine.fs.write(fd, bytes, 0, bytes.length);
  return surveySegment({ fs: machine.fs, clock: machine.clock }, fd);
}

/** As it is said, and not as it is found. */
function openOf({ gaps, bad, mended = [], boots, failedSync }: Survey): unknown[] {
  const lost = [...bad.map(({ from, to }): Range => [from, to]), ...mended];
  return gaps
    .filter((gap) => !lost.some(([from, to]) => from >= gap.from && to <= gap.offset))
    .map((gap) => {
      const isRestarted = boots.some(({ offset }) => offset >= gap.from && offset <= gap.offset);
      return { ...gap, unsynced: isRestarted || failedSync };
    });
}

function isSpanned({ from, to, writer, lastWriter }: BadRange, gap: Survey['gaps'][number]): boolean {
  const isOf = (each: string | undefined): boolean => each === undefined || each === gap.writer;
  return from >= gap.from && to <= gap.offset && isOf(writer) && isOf(lastWriter);
}

function numberedOf({ gaps, bad }: Survey): number {
  const isTold = ({ change, isAdd, uuid }: BadRange): boolean =>
    change !== undefined || (isAdd && uuid !== undefined);
  const counts = gaps.map((gap) => {
    const told = bad.filter((each) => isTold(each) && each.writer === gap.writer && isSpanned(each, gap));
    return Math.max(0, gap.count - told.length);
  });
  return counts.reduce((sum, count) => sum + count, 0);
}

test('the gaps of a damaged segment, and what may be lost in them', async () => {
  await assert(
    asyncProperty(array(lineOf, { maxLength: 40 }), async (lines) => {
      const bytes = fileOf(lines);
      const survey = await surveyOf(bytes);
      const { bad, torn, gaps, boots } = survey;
      expect(openGaps(survey)).toEqual(openOf(survey));
      // What was whole once is damage; that of whose writer nothing is legible, where nothing else is.
      const known = survey.bad.filter(({ what }) => what !== 'cut');
      const open = openOf({ ...survey, bad: known }) as Survey['gaps'];
      for (const { from, to, writer } of bad.filter(({ what }) => what === 'cut'))
        expect(
          (writer === undefined ? open : gaps).some(
            (gap) => from >= gap.from && to <= gap.offset && (writer ?? gap.writer) === gap.writer,
          ),
        ).toBe(true);
      for (const [from, to] of torn) {
        const { writer } = { writer: /"w":"(\d+)"/.exec(bytes.toString('latin1', from, to))?.[1] };
        expect(
          (writer === undefined ? open : gaps).some(
            (gap) => from >= gap.from && to <= gap.offset && (writer ?? gap.writer) === gap.writer,
          ),
        ).toBe(false);
      }
      for (const each of bad) {
        const boot = boots.find(({ offset }) => offset >= each.to);
        const isUnsynced = boot !== undefined && boot.synced <= each.from;
        expect(wasUnsynced(survey, each)).toBe(
          each.zeros ? each.note || isUnsynced : each.what === 'cut' && isUnsynced,
        );
      }
      expect(missingAddsIn(survey, undefined, undefined)).toBe(numberedOf(survey));
      const left = bad.filter((each) => each.to - each.from >= PREFIX && !wasUnsynced(survey, each));
      const spanned = left.filter((each) => gaps.some((gap) => isSpanned(each, gap)));
      if (spanned.length === left.length && left.every(({ blank }) => blank > 0))
        expect(unnamedIn(survey, 0)).toBe(numberedOf(survey));
    }),
    { numRuns: 300 },
  );
});
