import { describe, expect, test } from 'vitest';
import { Contents, toMessage } from '../../src/cache/contents.ts';
import { position } from '../../src/cache/position.ts';
import { QueueState } from '../../src/cache/state.ts';
import { SegmentTable } from '../../src/cache/table.ts';
import { SimFileSystem } from '../support/sim-fs.ts';
import { written, type Rec } from '../support/scan.ts';

const FOLDER = '/q';

/** A segment file with these adds, and a state that knows them. */
class Stored {
  readonly fs = new SimFileSystem();
  readonly state: QueueState;
  readonly contents: Contents;
  readonly positions: number[] = [];

  constructor(payloads: readonly string[], headers: readonly Rec['header'][] = []) {
    this.fs.makeFolder(FOLDER);
    this.state = new QueueState(1, 0);
    this.contents = new Contents(this.fs, FOLDER);
    let size = 0;
    const fd = this.fs.open(this.path(1), 'create');
    for (const [i, payload] of payloads.entries()) {
      const header = headers[i] ?? { op: 'add', u: `u${i}`, w: 'w', n: i + 1, t: 1000 + i };
      const record: Rec = payload === '' ? { header } : { header, payload };
      const bytes = written([record]);
      const headerLength = JSON.stringify(record.header).length;
      const extent = { offset: size + 1, length: bytes.length - 2, headerLength };
      this.positions.push(this.state.insert(extent, undefined, false));
      this.fs.write(fd, bytes, 0, bytes.length);
      size += bytes.length;
    }
    this.fs.close(fd);
  }

  path(segment: number): string {
    return `${FOLDER}/${String(segment).padStart(8, '0')}.journal`;
  }

  json(): (string | undefined)[] {
    return this.contents.readAll(this.state, this.positions).map((found) => found?.json);
  }
}

const numbers = Array.from({ length: 40 }, (_, i) => JSON.stringify({ i, pad: 'x'.repeat(i * 50) }));

describe('what a message holds', () => {
  test('is read from the record that added it', () => {
    const stored = new Stored(['{"text":"日本語"}', 'null', '0', '[]']);
    expect(stored.json()).toEqual(['{"text":"日本語"}', 'null', '0', '[]']);
    expect(stored.contents.read(stored.state, stored.positions[1]!)).toEqual({
      at: stored.positions[1],
      place: stored.positions[1],
      content: { u: 'u1' },
      inserted: 1001,
      json: 'null',
    });
  });

  test('is read alike from a record that says little and one that says much', () => {
    const u = '01931f5e-7c00-7abc-8def-0123456789ab';
    const w = '0123456789abcdef';
    const headers = [
      { op: 'add', u, w, n: 1, t: 1000 },
      { op: 'add', u, w, n: 2, t: 1001, s: 4096 },
      { op: 'add', u, a: 'order-7', r: 2, by: 'anna', w, n: 3, t: 1002 },
      { op: 'add', u, d: 5000, w, n: 4, t: 1003 },
      { op: 'add', w, u, n: 5, t: 1004 },
      { op: 'add', u: `${u}0`, w, n: 6, t: 1005 },
    ] as const;
    const stored = new Stored(
      headers.map((_, i) => `"${i}"`),
      headers,
    );
    const all = stored.contents.readAll(stored.state, stored.positions);
    expect(all.map((found) => found?.content)).toEqual(
      headers.map(({ u: uuid, ...said }) => ({
        u: uuid,
        ...('a' in said ? { a: said.a, r: said.r, by: said.by } : {}),
      })),
    );
    expect(all.map((found) => [found?.inserted, found?.json])).toEqual(
      headers.map(({ t }, i) => [t, `"${i}"`]),
    );
  });

  test('is nothing when the record has none', () => {
    const u = '01931f5e-7c00-7abc-8def-0123456789ab';
    const stored = new Stored([''], [{ op: 'add', u, w: '0123456789abcdef', n: 1, t: 1000 }]);
    expect(stored.json()).toEqual([undefined]);
  });

  test('is read in any order, one by one or many at a time', () => {
    const stored = new Stored(numbers);
    const backwards = [...stored.positions].reverse();
    expect(stored.contents.readAll(stored.state, backwards).map((found) => found!.json)).toEqual(
      [...numbers].reverse(),
    );
    expect(stored.positions.map((at) => stored.contents.read(stored.state, at)!.json)).toEqual(numbers);
  });

  test('that stand together is read in few calls', () => {
    const stored = new Stored(numbers);
    let reads = 0;
    stored.fs.onOperation = (operation) => void (operation === 'read' && reads++);
    expect(stored.json()).toEqual(numbers);
    expect(reads).toBeLessThan(4);
  });

  test('of a megabyte each is read whole', () => {
    const large = ['a', 'b', 'c'].map((letter) => JSON.stringify(letter.repeat(1024 * 1024)));
    expect(new Stored(large).json()).toEqual(large);
  });

  test('is found by its own prefix where its length is not known', () => {
    const stored = new Stored([...numbers, JSON.stringify('y'.repeat(100_000))]);
    const { state, positions } = stored;
    const unread = new QueueState(2, 0);
    unread.restoreTable(SegmentTable.unread(1, positions.length, 0, []));
    for (const at of positions) {
      unread.happen(at, { type: 'claim', token: 'w.1' }, { writer: 'w', began: 0, length: 1, since: 0 });
      expect(unread.touched.get(at)!.length).toBe(0);
    }
    const found = stored.contents.readAll(unread, positions);
    expect(found.map((one) => one!.json)).toEqual(
      stored.contents.readAll(state, positions).map((one) => one!.json),
    );
  });
});

describe('what cannot be read', () => {
  test('because a byte has changed is not returned, and its neighbours are', () => {
    const stored = new Stored(numbers.slice(0, 5));
    const path = stored.path(1);
    const sound = stored.fs.contents(path);
    const [from, to] = [stored.positions[2]! % 2 ** 32, (stored.positions[3]! % 2 ** 32) - 2];
    for (let at = from; at < to; at++) {
      for (const mask of [0x01, 0x08, 0x40, 0x80]) {
        stored.fs.corrupt(path, at, Uint8Array.of(sound[at]! ^ mask));
        const expected: (string | undefined)[] = numbers.slice(0, 5);
        expected[2] = undefined;
        expect(stored.json()).toEqual(expected);
        expect(stored.contents.read(stored.state, stored.positions[2]!)).toBeUndefined();
        stored.fs.corrupt(path, at, sound.subarray(at, at + 1));
      }
    }
  });

  test('because a byte has changed is not returned where its length is not known either, nor looked for in gigabytes', () => {
    const stored = new Stored(numbers.slice(0, 5));
    const path = stored.path(1);
    const sound = stored.fs.contents(path);
    const from = stored.positions[2]! % 2 ** 32;
    const unread = new QueueState(2, 0);
    unread.restoreTable(SegmentTable.unread(1, 5, 0, []));
    for (const at of stored.positions)
      unread.happen(at, { type: 'claim', token: 'w.1' }, { writer: 'w', began: 0, length: 1, since: 0 });
    const before = process.memoryUsage().arrayBuffers;
    for (let at = from; at < from + 28; at++) {
      for (const value of [0x30, 0x37, 0x38, 0x66, 0x20, 0x2d]) {
        if (value === sound[at]) continue;
        stored.fs.corrupt(path, at, Uint8Array.of(value));
        expect(stored.contents.read(unread, stored.positions[2]!)).toBeUndefined();
        expect(stored.contents.read(unread, stored.positions[3]!)!.json).toBe(numbers[3]);
        stored.fs.corrupt(path, at, sound.subarray(at, at + 1));
      }
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(256 * 1024 * 1024);
  });

  test('because the file ends before it, or is not there', () => {
    const stored = new Stored(numbers.slice(0, 5));
    stored.contents.close();
    const fd = stored.fs.open(stored.path(1), 'append');
    stored.fs.truncate(fd, (stored.positions[3]! % 2 ** 32) + 40);
    stored.fs.close(fd);
    expect(stored.json()).toEqual([...numbers.slice(0, 3), undefined, undefined]);
    stored.contents.close();
    stored.fs.remove(stored.path(1));
    expect(stored.json()).toEqual(Array(5).fill(undefined));
  });

  test('because another kind of record stands there', () => {
    const stored = new Stored(['1', '2']);
    const bytes = written([{ header: { op: 'purge', w: 'w', n: 3, t: 5 } }]);
    const fd = stored.fs.open(stored.path(1), 'append');
    const size = stored.fs.write(fd, bytes, 0, bytes.length);
    stored.fs.close(fd);
    const offset = stored.fs.contents(stored.path(1)).length - size + 1;
    const at = stored.state.insert({ offset, length: bytes.length - 2, headerLength: 30 }, undefined, false);
    expect(at).toBe(position(1, offset));
    expect(stored.contents.read(stored.state, at)).toBeUndefined();
  });
});

test('few segments are held open, and none after closing', () => {
  const fs = new SimFileSystem();
  fs.makeFolder(FOLDER);
  const state = new QueueState(21, 0);
  const contents = new Contents(fs, FOLDER);
  const bytes = written([{ header: { op: 'add', u: 'u', w: 'w', n: 1, t: 1 }, payload: '7' }]);
  const life = { phase: { state: 'ready' }, disabled: false, attempts: 0, crashes: 0, errors: [] } as const;
  for (let segment = 1; segment <= 20; segment++) {
    const fd = fs.open(`${FOLDER}/${String(segment).padStart(8, '0')}.journal`, 'create');
    fs.write(fd, bytes, 0, bytes.length);
    fs.close(fd);
    state.restore(position(segment, 1), life, position(segment, 1), bytes.length - 2, 0);
  }
  expect(contents.readAll(state, [...state.touched.keys()]).map((found) => found?.json)).toEqual(
    Array(20).fill('7'),
  );
  expect(fs.openFiles.length).toBeLessThan(10);
  contents.close();
  expect(fs.openFiles).toEqual([]);
});

describe('a message as callers see it', () => {
  test('is ready as soon as it is due, and shows what has become of it', () => {
    const state = new QueueState(1, 0);
    const at = state.insert({ offset: 1, length: 90, headerLength: 40 }, 5000, false);
    const stored = {
      at,
      place: at,
      content: { u: 'u', a: 'key', r: 2, by: 'me' },
      inserted: 7,
      json: '{"__proto__":1}',
    };
    expect(toMessage(stored, state, 4999)).toMatchObject({
      state: 'deferred',
      executionMode: 'deferred',
      alias: 'key',
      retries: 2,
      username: 'me',
    });
    const due = toMessage(stored, state, 5000)!;
    expect(due).toMatchObject({
      state: 'ready',
      dateTimeDeferredExecution: new Date(5000),
      insertedAt: new Date(7),
    });
    expect(Object.keys(due.data as object)).toEqual(['__proto__']);
    state.happen(at, { type: 'remove' });
    expect(toMessage(stored, state, 5000)).toBeUndefined();
  });
});
