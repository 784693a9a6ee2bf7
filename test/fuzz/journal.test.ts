/** Arbitrary bytes as the files of a queue: whoever opens it gets what is there or a typed error, and never hangs. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { asciiJson, Batch, scanLines } from '../../src/cache/record.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { all, expectTypedError } from '../support/examine.ts';
import { openManager, Q } from '../support/specimen.ts';
import { LIMIT, runs, timed } from './runs.ts';

/** Header values as they should be, or nearly: so that what comes of it gets beyond the first check. */
const value = fc.oneof(
  { weight: 4, arbitrary: fc.nat({ max: 2000 }) },
  fc.constantFrom('ready', 'deferred', 'claimed', 'failed', 'always', 'size', 'sync', 'destroy', 'feed', ''),
  fc.constantFrom<unknown>([[1, 1]], [1, 60], [[1, 60, 200]], [0, 50], [], null, true, 1),
  fc.string(),
  fc.jsonValue(),
);
const KEYS =
  'u a r by d x w n t s p at i k m ms max c f id why r crc format rules segment prev digest boot created modified paused added processed inserted last fresh special runs len hl state attempts crashes ct pr who dur from to records ctl lost';
const OPS =
  'head ready add claim renew done fail release lapse update set cancel remove retry purge pause resume attr processed writer boot create seal unsound next segment runs touched carry registered damage outcomes mended frobnicate';

const identity = { pid: 1, start: '', boot: 'b', pidNamespace: '', timeNamespace: '' };
/** What a record of each kind may hold that is right. */
const RIGHT: Record<string, unknown> = {
  u: '01a00000-0000-7000-8000-000000000001',
  w: '00000000000000a1',
  t: 1_790_000_000_000,
  i: 5,
  k: '1',
  m: 1,
  ms: 1000,
  max: 2,
  c: [[1, 1, 300]],
  p: [1, 300],
  at: [1, 300],
  who: identity,
  dur: 'os',
  id: 'feed',
  why: 'size',
  format: 1,
  rules: 1,
  segment: 1,
  prev: null,
  digest: 0,
  boot: '',
  created: 1,
  modified: 1,
  paused: false,
  added: 1,
  processed: 0,
  inserted: null,
  last: null,
  fresh: 1,
  special: 0,
  runs: [],
  len: 0,
  hl: 0,
  state: 'ready',
  attempts: 0,
  crashes: 0,
  from: 0,
  to: 1,
  records: 1,
};

const header = fc
  .record({
    op: fc.constantFrom(...OPS.split(' ')),
    n: fc.nat({ max: 20 }),
    numbered: fc.boolean(),
    wrong: fc.dictionary(fc.constantFrom(...KEYS.split(' ')), value, { maxKeys: 2 }),
  })
  .map(({ op, n, numbered, wrong }) => ({ op, ctl: 1, ...RIGHT, ...wrong, ...(numbered ? { n } : {}) }));

const payload = fc.option(
  fc.oneof(
    fc.constantFrom(
      '{"options":{},"attributes":{}}',
      '{"options":{"uniqueAlias":true},"attributes":{"a":1}}',
      '[]',
      '1',
    ),
    fc.json(),
    fc.string().map((text) => text.replaceAll('\n', ' ')),
  ),
  { nil: undefined },
);

/** One write, or bytes that are none. */
const piece = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(header, payload).map(([h, p]) => line(h, p)) },
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  fc.nat({ max: 2000 }).map((length) => Buffer.alloc(length)),
);

function line(h: unknown, p: string | undefined): Buffer {
  const batch = new Batch();
  batch.add(asciiJson(h), p);
  return Buffer.from(batch.buffer.subarray(0, batch.length));
}

const HEAD = Buffer.concat([
  line({ ...RIGHT, op: 'head', ctl: 1 }, '{"options":{},"attributes":{}}'),
  line({ op: 'ready', ctl: 1, records: 1 }, undefined),
]);

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 500 }).map((some) => Buffer.from(some)),
  fc.array(piece, { maxLength: 12 }).map((pieces) => Buffer.concat(pieces)),
  {
    weight: 3,
    arbitrary: fc.array(piece, { maxLength: 12 }).map((pieces) => Buffer.concat([HEAD, ...pieces])),
  },
);

const NAMES = ['00000001.journal', '00000002.journal', '00000001.index', 'tmp-00000002-0123456789abcdef'];
const files = fc.dictionary(fc.constantFrom(...NAMES), bytes, { minKeys: 1, maxKeys: 4 });

test('as lines, they are visited to the end, each byte once', () => {
  fc.assert(
    fc.property(bytes, (some) => {
      let seen = 0;
      const end = scanLines(some, 0, some.length, {
        record(_, start, to) {
          expect(start).toBeGreaterThanOrEqual(seen);
          seen = to;
        },
        bad(_, start, to) {
          expect(start).toBeGreaterThanOrEqual(seen);
          seen = to;
        },
      });
      expect(end).toBeLessThanOrEqual(some.length);
      expect(some.indexOf(10, end)).toBe(-1);
    }),
    runs(2000),
  );
});

const TYPED = [
  'JOURNAL_CORRUPT',
  'JOURNAL_NEWER',
  'QUEUE_NOT_FOUND',
  'QUEUE_DESTROYED',
  'STORAGE_FAILED',
  'INVALID_MESSAGE',
  'QUEUE_FULL',
];

async function typed<T>(doing: Promise<T>): Promise<T | undefined> {
  try {
    return await doing;
  } catch (error) {
    expect(TYPED).toContain(expectTypedError(error).code);
    return undefined;
  }
}

/** Everything that is done with a queue. */
async function use(root: string): Promise<void> {
  const manager = await openManager(root);
  try {
    await typed(manager.listQueues());
    await typed(manager.queueStatus(Q));
    await typed(all(manager));
    await typed(manager.addMessage(Q, { data: 'new', alias: 'new' }));
    const claims = (await typed(manager.claimMessages(Q, { limit: 3 }))) ?? [];
    for (const claim of claims) await typed(manager.completeMessage(Q, claim));
    await typed(manager.inspectMessage(Q, { uuid: RIGHT['u'] as string }));
    await typed(manager.createQueue(Q));
  } finally {
    await manager.close();
  }
}

test('as a folder, they can be used, verified and repaired', { timeout: LIMIT }, async () => {
  const ports: Ports = { ...nodePorts, processes: { ...nodePorts.processes, isKnownDead: () => true } };
  await fc.assert(
    fc.asyncProperty(files, async (contents) => {
      const root = realpathSync(mkdtempSync(join(tmpdir(), 'coda-fuzz-')));
      const folder = join(root, Q);
      try {
        mkdirSync(folder);
        for (const [name, some] of Object.entries(contents)) writeFileSync(join(folder, name), some);
        await typed(verifyQueue(folder));
        await use(root);
        const report = await typed(repairQueue(folder, { keepOutcomes: 10, ports }));
        if (!report) return;
        expect(await verifyQueue(folder)).toMatchObject({ sound: true });
        await use(root);
      } finally {
        rmSync(root, { recursive: true });
      }
    }),
    { ...timed(150), endOnFailure: false },
  );
});
