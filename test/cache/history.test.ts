/** What `inspectMessage` tells from the files: real folders, and segments so small that every few operations rotate. */
import { appendFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Claim, HistoryEvent, Inspection, Json, QueueManager } from '../../src/index.ts';
import { memoryStore } from '../contract/stores.ts';
import { written } from '../support/scan.ts';
import { Seeded } from '../support/seeded.ts';
import { openManager, Q, Specimen, type OpenHow } from '../support/specimen.ts';

/** Every few operations rotate. */
const SMALL = { segmentBytes: 2048 };

const opened: QueueManager[] = [];
const specimens: Specimen[] = [];

afterEach(async () => {
  for (const manager of opened.splice(0)) await manager.close();
  for (const specimen of specimens.splice(0)) specimen.dispose();
});

function folder(): Specimen {
  const specimen = new Specimen();
  specimens.push(specimen);
  return specimen;
}

async function open(specimen: Specimen, how?: OpenHow): Promise<QueueManager> {
  const manager = await openManager(specimen.root, how);
  opened.push(manager);
  await manager.createQueue(Q);
  return manager;
}

async function claimOne(manager: QueueManager, lease = 3_600_000): Promise<Claim> {
  await manager.waitForMessage(Q, { timeout: 10_000 });
  const [claim] = await manager.claimMessages(Q, { lease });
  return claim!;
}

/** Adds and completes messages until so many more segments have been begun. */
async function rotate(manager: QueueManager, specimen: Specimen, segments: number): Promise<void> {
  const newest = (): number => Number.parseInt(specimen.segments().at(-1)!, 10);
  const wanted = newest() + segments;
  while (newest() < wanted) {
    await manager.addMessage(Q, { data: 'x'.repeat(200), alias: 'filler' });
    await manager.getMessage(Q);
  }
}

async function inspect(manager: QueueManager, target: { uuid: string } | { alias: string }) {
  const inspection = await manager.inspectMessage(Q, target);
  expect(inspection).toBeDefined();
  return inspection!;
}

const names = (history: readonly HistoryEvent[]): string[] => history.map(({ event }) => event);

describe('a live message', () => {
  test('has all that happened to it in its history, with times, errors and who did it', async () => {
    const manager = await open(folder());
    const before = Date.now();
    const due = new Date(before - 1000);
    const { uuid } = await manager.addMessage(Q, {
      data: 1,
      alias: 'one',
      retries: 5,
      dateTimeDeferredExecution: due,
    });
    await manager.updateMessage(Q, uuid, { data: 2 });
    await manager.updateMessage(Q, uuid, { disabled: true });
    await manager.updateMessage(Q, uuid, { disabled: false });
    await manager.releaseMessage(Q, await claimOne(manager));
    const claim = await claimOne(manager);
    await manager.renewMessage(Q, claim);
    await manager.reportProgress(Q, claim, { percent: 50, text: 'half' });
    await manager.failMessage(Q, claim, new Error('no'), { retryAt: due ?? new Date(0) });
    await claimOne(manager, 1);
    const last = await claimOne(manager);
    await manager.failMessage(Q, last, new Error('never'), { final: true });
    await manager.retryMessages(Q, [uuid]);
    await claimOne(manager);
    await manager.cancelMessage(Q, uuid, 'changed my mind');
    const { history, complete, message, ending } = await inspect(manager, { uuid });
    expect(names(history)).toEqual([
      'added',
      'updated',
      'updated',
      'updated',
      'claimed',
      'released',
      'claimed',
      'failed',
      'claimed',
      'lapsed',
      'claimed',
      'failed',
      'retried',
      'claimed',
      'cancelled',
    ]);
    expect(complete).toBe(true);
    expect(history[0]).toMatchObject({ due });
    expect(history[7]).toMatchObject({ due, error: { message: 'no', attempt: 1 }, pid: process.pid });
    expect(history[9]).toMatchObject({ error: { name: 'LeaseExpired', attempt: 2 } });
    expect(history[14]).toMatchObject({
      error: { code: 'CANCELLED', message: 'changed my mind', attempt: 1 },
    });
    const times = history.map(({ at }) => at.getTime());
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(times[0]).toBeGreaterThanOrEqual(before);
    expect(message).toMatchObject({ uuid, alias: 'one', data: 2, state: 'failed', errors: [{}, {}, {}, {}] });
    const at = new Date(message!.errors.at(-1)!.at);
    expect(ending).toEqual({ uuid, alias: 'one', outcome: 'failed', at });
    expect(await inspect(manager, { alias: 'one' })).toEqual({ message, ending, history, complete });
  });

  test('of several with one alias is the first in line', async () => {
    const manager = await open(folder());
    const added = await manager.addMessages(
      Q,
      ['a', 'b', 'a', 'a'].map((alias, data) => ({ data, alias })),
    );
    await manager.completeMessage(Q, await claimOne(manager));
    expect((await inspect(manager, { alias: 'a' })).message?.uuid).toBe(added[2]!.uuid);
  });

  test('has its whole history while its add is kept, however many segments have come since', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const { uuid } = await manager.addMessage(Q, { data: 'x'.repeat(3000), alias: 'old', disabled: true });
    const others = await manager.addMessages(
      Q,
      Array.from({ length: 40 }, (_, data) => ({ data, disabled: true })),
    );
    await rotate(manager, specimen, 4);
    await manager.updateMessage(Q, uuid, { disabled: false });
    await manager.failMessage(Q, await claimOne(manager), new Error('no'), { final: true });
    await rotate(manager, specimen, 1);
    const { history, complete, message } = await inspect(await open(specimen, SMALL), { uuid });
    expect(names(history)).toEqual(['added', 'updated', 'claimed', 'failed']);
    expect(message?.state).toBe('failed');
    expect(complete).toBe(true);
    expect(await inspect(manager, { uuid: others[7]!.uuid })).toMatchObject({
      complete: true,
      history: [{ event: 'added' }],
    });
  });

  test('whose first records are gone is told from where they begin', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'carried', retries: 3 });
    await manager.failMessage(Q, await claimOne(manager), new Error('no'), { retryAt: new Date(2e12) });
    await rotate(manager, specimen, 6);
    await manager.updateMessage(Q, uuid, { dateTimeDeferredExecution: null });
    await claimOne(manager);
    const { history, complete, message } = await inspect(manager, { uuid });
    expect(specimen.segments()[0]).not.toBe('00000001.journal');
    expect(complete).toBe(false);
    expect(names(history)).toEqual(['updated', 'claimed']);
    expect(message).toMatchObject({ state: 'claimed', attempts: 2, holder: { pid: process.pid } });
  });

  test('of which a part between two kept segments is gone says so, though it stands as before', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const [, { uuid }] = (await manager.addMessages(Q, [
      { data: 'x'.repeat(300), disabled: true },
      { data: 1, alias: 'steady' },
    ])) as [unknown, { uuid: string }];
    await manager.releaseMessage(Q, await claimOne(manager));
    await manager.updateMessage(Q, uuid, { disabled: true });
    await rotate(manager, specimen, 2);
    await manager.updateMessage(Q, uuid, { disabled: false });
    await manager.releaseMessage(Q, await claimOne(manager));
    await manager.updateMessage(Q, uuid, { disabled: true });
    await rotate(manager, specimen, 3);
    expect(specimen.segments()[0]).toBe('00000001.journal');
    const { history, complete } = await inspect(manager, { alias: 'steady' });
    expect(names(history)).toEqual(['added', 'claimed', 'released', 'updated']);
    expect(complete).toBe(false);
  });
});

describe('a message that has ended', () => {
  test('is told of by its uuid, with how it ended', async () => {
    const manager = await open(folder());
    const added = await manager.addMessages(
      Q,
      ['done', 'taken', 'removed', 'purged'].map((alias) => ({ data: alias, alias })),
    );
    const [done, taken, removed, purged] = added.map(({ uuid }) => uuid) as [string, string, string, string];
    await manager.completeMessage(Q, await claimOne(manager));
    await manager.getMessage(Q);
    await manager.removeMessage(Q, removed);
    await manager.purgeQueue(Q);
    for (const [uuid, alias, outcome, events] of [
      [done, 'done', 'completed', ['added', 'claimed', 'completed']],
      [taken, 'taken', 'completed', ['added', 'claimed', 'completed']],
      [removed, 'removed', 'removed', ['added', 'removed']],
      [purged, 'purged', 'purged', ['added', 'purged']],
    ] as const) {
      const found = await inspect(manager, { uuid });
      expect(names(found.history)).toEqual(events);
      expect(found).toEqual({
        ending: { uuid, alias, outcome, at: found.history.at(-1)!.at },
        history: found.history,
        complete: true,
      });
      expect(await inspect(manager, { alias })).toEqual(found);
    }
  });

  test('of several with one alias is the one that ended last', async () => {
    const manager = await open(folder());
    const added = await manager.addMessages(
      Q,
      [0, 1, 2].map((data) => ({ data, alias: 'same' })),
    );
    const claims = await manager.claimMessages(Q, { limit: 3 });
    for (const i of [2, 0, 1]) await manager.completeMessage(Q, claims[i]!);
    expect((await inspect(manager, { alias: 'same' })).ending?.uuid).toBe(added[1]!.uuid);
  });

  test('is remembered with its outcome when its records are gone', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'old' });
    await manager.removeMessage(Q, uuid);
    await rotate(manager, specimen, 3);
    const ending = { uuid, alias: 'old', outcome: 'removed', at: expect.any(Date) };
    expect(await inspect(manager, { uuid })).toEqual({ ending, history: [], complete: false });
    expect(await inspect(manager, { alias: 'old' })).toEqual({ ending, history: [], complete: false });
  });

  test('whose add is gone is told from where its records begin', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'late', retries: 9 });
    await manager.failMessage(Q, await claimOne(manager), new Error('no'), { retryAt: new Date(2e12) });
    await rotate(manager, specimen, 6);
    await manager.updateMessage(Q, uuid, { dateTimeDeferredExecution: null });
    await manager.completeMessage(Q, await claimOne(manager));
    for (const target of [{ uuid }, { alias: 'late' }]) {
      const { history, complete, ending } = await inspect(manager, target);
      expect(names(history)).toEqual(['updated', 'claimed', 'completed']);
      expect(complete).toBe(false);
      expect(ending).toMatchObject({ uuid, alias: 'late', outcome: 'completed' });
    }
  });

  test('between two segments that are kept has gone without a trace, but for its outcome', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const [kept, gone] = await manager.addMessages(Q, [
      { data: 'x'.repeat(3000), disabled: true },
      { data: 1, alias: 'gone', disabled: true },
    ]);
    await rotate(manager, specimen, 2);
    await manager.removeMessage(Q, gone!.uuid);
    await rotate(manager, specimen, 3);
    expect(specimen.segments()[0]).toBe('00000001.journal');
    const { history, complete, ending } = await inspect(manager, { alias: 'gone' });
    expect(names(history)).toEqual(['added']);
    expect(complete).toBe(false);
    expect(ending).toMatchObject({ uuid: gone!.uuid, outcome: 'removed' });
    // And of one to which nothing has happened nothing can be missing.
    expect((await inspect(manager, { uuid: kept!.uuid })).complete).toBe(true);
  });
});

describe('nothing is known', () => {
  const NOBODY = '00000000-0000-7000-8000-000000000000';

  test('of what never was there', async () => {
    const manager = await open(folder());
    await manager.addMessage(Q, { data: NOBODY, alias: 'there', username: 'nobody' });
    expect(await manager.inspectMessage(Q, { uuid: NOBODY })).toBeUndefined();
    expect(await manager.inspectMessage(Q, { alias: 'nobody' })).toBeUndefined();
  });

  test.each([{ maxMessages: 1 }, { maxBytes: 10 }, { uniqueAlias: true }])(
    'of adds that a queue with %j refused, even after a purge',
    async (options) => {
      const specimen = folder();
      const manager = await openManager(specimen.root);
      opened.push(manager);
      await manager.createQueue(Q, options);
      const first = await manager.addMessage(Q, { data: '12345678', alias: 'same' });
      const refused = { data: '12345678', alias: 'uniqueAlias' in options ? 'same' : 'refused' };
      await manager.addMessage(Q, refused).catch(() => undefined);
      await claimOne(manager);
      await manager.cancelMessage(Q, first.uuid);
      await manager.purgeQueue(Q);
      expect((await inspect(manager, { alias: 'same' })).ending?.uuid).toBe(first.uuid);
      if (refused.alias !== 'same')
        expect(await manager.inspectMessage(Q, { alias: refused.alias })).toBeUndefined();
    },
  );

  test('of an earlier queue of that name', async () => {
    const specimen = folder();
    const manager = await open(specimen);
    const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'old' });
    await manager.removeMessage(Q, uuid);
    await manager.addMessage(Q, { data: 2, alias: 'old' });
    await manager.destroyQueue(Q);
    await manager.createQueue(Q);
    expect(await manager.inspectMessage(Q, { uuid })).toBeUndefined();
    expect(await manager.inspectMessage(Q, { alias: 'old' })).toBeUndefined();
    const again = await manager.addMessage(Q, { data: 1, alias: 'old' });
    expect(await inspect(manager, { alias: 'old' })).toMatchObject({
      message: { uuid: again.uuid },
      history: [{ event: 'added' }],
      complete: true,
    });
  });
});

describe('while others go on', () => {
  test('every answer is whole, though segments come and go', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const other = await open(specimen, SMALL);
    const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'kept', disabled: true });
    const stop = new AbortController();
    const working = (async (): Promise<void> => {
      while (!stop.signal.aborted) await rotate(other, specimen, 1);
    })();
    for (let i = 0; i < 30; i++) {
      const { message, history } = await inspect(manager, i % 2 ? { uuid } : { alias: 'kept' });
      expect(message?.uuid).toBe(uuid);
      expect(names(history)).toEqual(history.length > 0 ? ['added'] : []);
    }
    stop.abort();
    await working;
  });

  test('a segment that is gone when it is to be opened makes it look anew', async () => {
    const specimen = folder();
    const writer = await open(specimen, { segmentBytes: 4000 });
    const { uuid } = await writer.addMessage(Q, { data: 'x'.repeat(1500), disabled: true });
    await rotate(writer, specimen, 1);
    await writer.updateMessage(Q, uuid, { data: 1 });
    const [first] = specimen.segments() as [string];
    let opened = -Infinity;
    const fs: typeof nodePorts.fs = {
      ...nodePorts.fs,
      open(path, how, mode) {
        // As if it had been deleted after the listing; the message itself is elsewhere by now.
        const gone = path.endsWith(first) && how === 'read' && [1, 3].includes(++opened);
        if (gone) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
        return nodePorts.fs.open(path, how, mode);
      },
    };
    const reader = await open(specimen, { ports: { ...nodePorts, fs } });
    // So that it is not missed while the state is read, which would take what is in it for lost.
    await inspect(reader, { uuid });
    opened = 0;
    const { history, complete } = await inspect(reader, { uuid });
    expect(names(history)).toEqual(['added', 'updated']);
    expect(complete).toBe(true);
    expect(opened).toBeGreaterThan(1);
  });

  test('the event loop turns while much is read', async () => {
    const specimen = folder();
    const manager = await open(specimen, { segmentBytes: 8_000_000 });
    const text = 'x'.repeat(20_000);
    for (let i = 0; i < 10; i++)
      await manager.addMessages(
        Q,
        Array.from({ length: 30 }, () => ({ data: text })),
      );
    const { uuid } = await manager.addMessage(Q, { data: 1 });
    // Now the state is read; the search alone takes a tenth of the turns.
    await inspect(manager, { uuid });
    let turns = 0;
    let reading = true;
    const turn = (): void => {
      turns++;
      if (reading) setImmediate(turn);
    };
    setImmediate(turn);
    await inspect(manager, { uuid });
    reading = false;
    expect(turns).toBeGreaterThan(20);
  });
});

describe('damage', () => {
  test('in a record leaves that one out, and the next head tells that something is missing', async () => {
    const specimen = folder();
    const manager = await open(specimen, { segmentBytes: 4000 });
    const { uuid } = await manager.addMessage(Q, { data: 'x'.repeat(500), retries: 5, disabled: true });
    await manager.updateMessage(Q, uuid, { disabled: false });
    await manager.failMessage(Q, await claimOne(manager), new Error('no'), { retryAt: new Date(4e12) });
    const first = '00000001.journal';
    const failed = specimen.records(first).find(({ header }) => header.op === 'fail')!;
    specimen.flip(first, failed.end - 3);
    // By one who had read it while it was sound.
    await rotate(manager, specimen, 1);
    await manager.close();
    const { history, complete, message } = await inspect(await open(specimen), { uuid });
    expect(names(history)).toEqual(['added', 'updated', 'claimed']);
    expect(complete).toBe(false);
    expect(message).toMatchObject({ state: 'deferred', attempts: 1, errors: [{ message: 'no' }] });
  });

  test('of the seal does not make what stands behind it count', async () => {
    const specimen = folder();
    const manager = await open(specimen, SMALL);
    const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'one', disabled: true });
    await rotate(manager, specimen, 1);
    await manager.close();
    const [first] = specimen.segments() as [string];
    const records = specimen.records(first);
    const { start, header } = records.find((record) => record.header['u'] === uuid)!;
    // Some other process was too late.
    const late = { op: 'remove', p: [1, start], u: uuid, w: header['w'], n: 1000, t: Date.now() } as Json;
    appendFileSync(specimen.path(first), written([{ header: late }]));
    specimen.flip(first, records.find((record) => record.header.op === 'seal')!.end - 3);
    const { history, message } = await inspect(await open(specimen, SMALL), { uuid });
    expect(names(history)).toEqual(['added']);
    expect(message?.uuid).toBe(uuid);
  });

  test('wherever it is, is no reason to fail', async () => {
    const sound = folder();
    const manager = await open(sound, SMALL);
    const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'one', retries: 9 });
    await manager.failMessage(Q, await claimOne(manager), new Error('no'), { retryAt: new Date(0) });
    await manager.releaseMessage(Q, await claimOne(manager));
    await rotate(manager, sound, 1);
    await manager.completeMessage(Q, await claimOne(manager));
    await manager.close();
    const random = new Seeded(7);
    for (let i = 0; i < 40; i++) {
      const copy = sound.copy();
      specimens.push(copy);
      const file = copy.segments()[0]!;
      const record = random.pick(copy.records(file));
      copy.flip(file, record.start + random.below(record.end - record.start + 1), 1 << random.below(8));
      const found = await (await open(copy, SMALL)).inspectMessage(Q, { uuid });
      expect(found?.ending).toMatchObject({ uuid, outcome: 'completed' });
    }
  });
});

/** Two stores, and the same done to each: the in-memory backend says what a history is. */
class Twins {
  readonly sides: { managers: QueueManager[]; uuids: string[]; claims: Claim[] }[] = [];
  readonly #random: Seeded;
  readonly #uniqueAlias: boolean;

  constructor(seed: number, uniqueAlias: boolean) {
    this.#random = new Seeded(seed);
    this.#uniqueAlias = uniqueAlias;
  }

  async open(segmentBytes: number): Promise<void> {
    const memory = await memoryStore();
    const specimen = folder();
    for (const make of [
      () => memory.open({ backoff: 0 }),
      () => openManager(specimen.root, { segmentBytes }),
    ]) {
      const managers = await Promise.all([make(), make()]);
      opened.push(...managers);
      await managers[0].createQueue(Q, { uniqueAlias: this.#uniqueAlias });
      this.sides.push({ managers, uuids: [], claims: [] });
    }
  }

  async step(): Promise<void> {
    const random = this.#random;
    const by = random.below(2);
    const kind = random.pick(KINDS);
    const which = random.next();
    const alias = random.pick(['', 'a', 'b', 'c']);
    const flag = random.chance(0.5);
    const due = [new Date(0), new Date(4e12), undefined][random.below(3)];
    await Promise.all(
      this.sides.map(async ({ managers, uuids, claims }) => {
        const manager = managers[by]!;
        const uuid = uuids[Math.floor(which * uuids.length)] ?? '?';
        const claim = claims[Math.floor(which * claims.length)];
        switch (kind) {
          case 'add': {
            const input = {
              data: which,
              alias,
              retries: 3,
              disabled: which < 0.1,
              dateTimeDeferredExecution: due,
            };
            const added = await manager.addMessage(Q, input);
            if (!uuids.includes(added.uuid)) uuids.push(added.uuid);
            return;
          }
          case 'claim':
            claims.push(...(await manager.claimMessages(Q, { limit: flag ? 1 : 3, lease: 3_600_000 })));
            return;
          case 'take':
            return void (await manager.getMessage(Q));
          case 'complete':
            return void (claim && (await manager.completeMessage(Q, claim)));
          case 'fail':
            return void (
              claim &&
              (await manager.failMessage(
                Q,
                claim,
                new Error('no'),
                flag ? { final: true } : { retryAt: due ?? new Date(0) },
              ))
            );
          case 'release':
            return void (claim && (await manager.releaseMessage(Q, claim)));
          case 'renew':
            return void (claim && (await manager.renewMessage(Q, claim)));
          case 'update': {
            const changes = flag
              ? { data: which, ...(this.#uniqueAlias ? {} : { alias }) }
              : { disabled: which < 0.3, dateTimeDeferredExecution: due };
            // Refused of a message that has ended.
            return void (await manager.updateMessage(Q, uuid, changes).catch(() => undefined));
          }
          case 'remove':
            return void (await manager.removeMessage(Q, uuid));
          case 'cancel':
            return void (await manager.cancelMessage(Q, uuid, 'why'));
          case 'retry':
            return void (await manager.retryMessages(Q, flag ? 'all' : [uuid]));
          case 'purge':
            return void (which < 0.2 && (await manager.purgeQueue(Q)));
          case 'pause':
            return flag ? manager.pauseQueue(Q) : manager.resumeQueue(Q);
        }
      }),
    );
  }

  /** How many of the answers about messages were whole. */
  async compare(): Promise<{ whole: number; all: number }> {
    const [memory, files] = this.sides as [Twins['sides'][0], Twins['sides'][0]];
    expect(files.uuids).toHaveLength(memory.uuids.length);
    let whole = 0;
    for (const [i, uuid] of memory.uuids.entries()) {
      const expected = await memory.managers[0]!.inspectMessage(Q, { uuid });
      const received = await files.managers[0]!.inspectMessage(Q, { uuid: files.uuids[i]! });
      if (received?.complete) whole++;
      expectTold(received, expected!);
    }
    for (const alias of ['a', 'b', 'c']) {
      const expected = await memory.managers[1]!.inspectMessage(Q, { alias });
      const received = await files.managers[1]!.inspectMessage(Q, { alias });
      if (!expected || !received) expect(expected?.message).toBe(received?.message);
      // What ended last may have been forgotten.
      else if (expected.message || received.complete) {
        const uuid = received.message?.uuid ?? received.ending!.uuid;
        const same = memory.uuids.indexOf(expected.message?.uuid ?? expected.ending!.uuid);
        if (expected.message) expect(files.uuids.indexOf(uuid)).toBe(same);
        if (files.uuids.indexOf(uuid) === same) expectTold(received, expected);
      }
    }
    return { whole, all: memory.uuids.length };
  }
}

const KINDS = [
  ...Array<'add'>(6).fill('add'),
  ...Array<'claim'>(6).fill('claim'),
  ...Array<'complete'>(3).fill('complete'),
  ...Array<'fail'>(4).fill('fail'),
  ...Array<'update'>(4).fill('update'),
  'take',
  'release',
  'renew',
  'remove',
  'cancel',
  'retry',
  'retry',
  'purge',
  'pause',
] as const;

/** The files tell what the memory does; when they have forgotten a part, the rest of it. */
function expectTold(received: Inspection | undefined, expected: Inspection): void {
  if (!received) return expect(expected.message).toBeUndefined();
  const history = plain(received.history) as unknown[];
  const whole = plain(expected.history) as unknown[];
  if (received.complete) expect(history).toEqual(whole);
  else if (received.message) expect(whole.slice(whole.length - history.length)).toEqual(history);
  expect(plain(received.message)).toEqual(plain(expected.message));
  if (received.ending?.outcome !== 'unknown') expect(plain(received.ending)).toEqual(plain(expected.ending));
}

/** Without what is drawn, or told by a clock or an operating system. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (key, part: unknown) =>
      ['uuid', 'at', 'stack', 'pid', 'since', 'insertedAt'].includes(key) ? undefined : part,
    ),
  );
}

describe('the files tell what the in-memory backend tells', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('after the operations of seed %i', async (seed) => {
    const small = seed % 2 === 1;
    const twins = new Twins(seed, seed % 4 < 2);
    await twins.open(small ? 3000 : 1_000_000);
    for (let i = 1; i <= 160; i++) {
      await twins.step();
      if (i % 40 > 0) continue;
      const { whole, all } = await twins.compare();
      if (small) expect(whole).toBeGreaterThan(0);
      else expect(whole).toBe(all);
    }
  });
});
