import fs, { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Tail } from '../../bin/queue-daemon/tail.ts';

let folder: string;
let log: string;
let tail: Tail;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coda-tail-'));
  log = join(folder, 'mails.log');
  tail = new Tail(log);
});
afterEach(() => {
  tail.close();
  rmSync(folder, { recursive: true });
});

/** Puts the log aside as rotation does. */
function putAside(second: number): void {
  renameSync(log, `${log}.2026-03-17T18-57-0${second}.123Z-9f31c0de`);
}

test('a line that comes just before its file is put aside is not passed over', () => {
  writeFileSync(log, 'first\n');
  expect(tail.last(10)).toEqual(['first']);
  const { readdirSync } = fs;
  // The file has been read to its end; now it is looked for what follows it.
  const listing = vi.spyOn(fs, 'readdirSync').mockImplementationOnce(((path: string) => {
    appendFileSync(log, 'late\n');
    putAside(1);
    writeFileSync(log, 'new\n');
    return readdirSync(path);
  }) as typeof fs.readdirSync);
  expect(tail.next()).toEqual(['late', 'new']);
  listing.mockRestore();
});

test('a whole file that comes and goes between the listing and the opening is not passed over', () => {
  writeFileSync(log, 'first\n');
  tail.last(10);
  putAside(1);
  writeFileSync(log, 'second\n');
  const { openSync } = fs;
  const opening = vi.spyOn(fs, 'openSync').mockImplementationOnce(((path: string, flags: number) => {
    putAside(2);
    writeFileSync(log, 'third\n');
    return openSync(path, flags);
  }) as typeof fs.openSync);
  // The second look is the one that finds out.
  expect([...tail.next(), ...tail.next()]).toEqual(['second', 'third']);
  opening.mockRestore();
});

test('a log that is emptied is read from its beginning', () => {
  writeFileSync(log, 'first\nsecond\n');
  tail.last(0);
  writeFileSync(log, 'third\n');
  expect(tail.next()).toEqual(['third']);
});

test('a file that is deleted, with those put aside, is followed by the newest', () => {
  writeFileSync(log, 'first\n');
  expect(tail.last(1)).toEqual(['first']);
  rmSync(log);
  expect(tail.next()).toEqual([]);
  writeFileSync(log, 'second\n');
  putAside(1);
  writeFileSync(log, 'third\n');
  expect(tail.next()).toEqual(['third']);
});

test('a character that is written in two parts is one, and a line without its end is waited for', () => {
  writeFileSync(log, '');
  tail.last(10);
  appendFileSync(log, Buffer.from([0xc3]));
  expect(tail.next()).toEqual([]);
  appendFileSync(log, Buffer.from([0xa9]));
  expect(tail.next()).toEqual([]);
  appendFileSync(log, '\n\n');
  expect(tail.next()).toEqual(['é', '']);
});
