import { expect, test } from 'vitest';
import type { DaemonContext } from '../../src/daemon/daemon.ts';
import { QueueProcessor } from '../../src/daemon/queue-processor.ts';
import { fired, settle, start } from './running.ts';

class Letters extends QueueProcessor<string> {
  readonly batches: unknown[];
  readonly handled: string[] = [];
  handle: (item: string, context: DaemonContext) => Promise<void> | void = () => undefined;

  constructor(...batches: unknown[]) {
    super();
    this.batches = batches;
  }

  override loadItems(): string[] {
    return (this.batches.shift() ?? []) as string[];
  }

  override processActiveItem(item: string, context: DaemonContext): Promise<void> | void {
    this.handled.push(item);
    return this.handle(item, context);
  }
}

test('a batch is handled in order, each iteration the next one', async () => {
  const daemon = new Letters(['a', 'b'], [], new Set(['c']), later('d', 'e'));
  const { clock, stop, report } = start(daemon);
  await settle();
  expect(daemon.handled).toEqual(['a', 'b']);
  await clock.pass(15_000);
  await settle();
  await settle();
  expect(daemon.handled).toEqual(['a', 'b', 'c', 'd', 'e']);
  stop();
  expect(await report).toMatchObject({ sessions: 4, failed: 0 });
});

test('one bad item is logged, and holds up none of the others', async () => {
  const daemon = new Letters(['a', 'b', 'c'], ['d']);
  daemon.handle = (item) => {
    if (item === 'b') throw new Error('no b');
  };
  const { clock, lines, stop, report } = start(daemon);
  await clock.pass(5000);
  expect(daemon.handled).toEqual(['a', 'b', 'c', 'd']);
  expect(lines).toContainEqual({ level: 'ERROR', text: 'item 2 failed: no b' });
  stop();
  expect(await report).toMatchObject({ failed: 0 });
});

test('an iteration in which every item fails has failed', async () => {
  const daemon = new Letters(['a', 'b'], ['c']);
  daemon.handle = (item) => Promise.reject(new Error(`no ${item}`));
  const { clock, kept, stop, report } = start(daemon);
  await clock.pass(5000);
  expect(kept).toContain('iterated all 2 items failed; the last one: no b');
  expect(kept).toContain('iterated the only item failed; the last one: no c');
  stop();
  expect(await report).toMatchObject({ failed: 2 });
});

test.each([
  ['a number', 7],
  ['an object', { items: [] }],
])('a source that answers with %s has failed', async (_, answer) => {
  const { stop, report } = start(new Letters(answer));
  await settle();
  stop();
  expect(await report).toMatchObject({ sessions: 1, failed: 1 });
});

test('a stop leaves the rest of the batch at its source', async () => {
  const daemon = new Letters(['a', 'b', 'c']);
  daemon.handle = (_, { stopping }) => fired(stopping);
  const { stop, report } = start(daemon);
  await settle();
  stop();
  expect(await report).toMatchObject({ sessions: 1, failed: 0, abandoned: false });
  expect(daemon.handled).toEqual(['a']);
});

test('an item that gives up at the deadline has not failed', async () => {
  const daemon = new Letters(['a']);
  daemon.handle = async (_, { signal }) => {
    await fired(signal);
    throw signal.reason;
  };
  const { clock, lines, stop, report } = start(daemon);
  await settle();
  stop();
  await clock.pass(10_000);
  expect(await report).toMatchObject({ failed: 0, abandoned: false });
  expect(lines.filter(({ level }) => level === 'ERROR')).toEqual([]);
});

async function* later(...items: string[]): AsyncGenerator<string> {
  for (const item of items) {
    await settle();
    yield item;
  }
}
