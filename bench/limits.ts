/**
 * What this machine and Node can do at best at each of Coda's jobs: the least work that the job consists of, done by
 * one process with nothing around it. Records are ready-made bytes unless said otherwise.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Parent } from './parent.ts';
import { payload, type Payload } from './payload.ts';
import { micros, rateInFlight, rateOf } from './timing.ts';

const RECORD = Buffer.from(`${JSON.stringify(payload(123456))}\n`);
/** About what a claim and its end take in a log. */
const LINE = Buffer.from(`${'-'.repeat(99)}\n`);
const RECORDS_A_WRITE = 1000;
const READ_BYTES = 256 * 1024;
/** Records in the file that is read. */
const TO_READ = 10_000;

interface Timed {
  folder: string;
  seconds: number;
}

/** One record a `write`, no sync. */
export function append({ folder, seconds }: Timed): number {
  const fd = newFile(folder);
  return rateOf(seconds, () => fs.writeSync(fd, RECORD));
}

/** Records a second, made by `JSON.stringify` and written a thousand at a time. */
export function appendMany({ folder, seconds }: Timed): number {
  const fd = newFile(folder);
  let i = 0;
  const write = (): void => {
    let text = '';
    for (let k = 0; k < RECORDS_A_WRITE; k++) text += `${JSON.stringify(payload(i++))}\n`;
    fs.writeSync(fd, text);
  };
  return rateOf(seconds, write) * RECORDS_A_WRITE;
}

/**
 * Records a second with `inFlight` callers waiting for theirs: one loop writes all that wait in one `write`, then syncs
 * once. With one caller that is a write and an asynchronous `fdatasync` for each record.
 */
export function groupCommit({ folder, seconds, inFlight }: Timed & { inFlight: number }): Promise<number> {
  const fd = newFile(folder);
  let waiting: (() => void)[] = [];
  let running = false;
  const commit = async (): Promise<void> => {
    if (running) return;
    running = true;
    while (waiting.length > 0) {
      const committed = waiting;
      waiting = [];
      fs.writeSync(fd, Buffer.concat(committed.map(() => RECORD)));
      await synced(fd);
      for (const answer of committed) answer();
      // Those answered wait again before the next turn.
      await Promise.resolve();
    }
    running = false;
  };
  return rateInFlight(
    seconds,
    inFlight,
    () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve);
        if (waiting.length === 1 && !running) queueMicrotask(() => void commit());
      }),
  );
}

/** Messages a second, one after the other: a line for the claim, the record read and parsed, a line for its end. */
export function deliverOne({ folder, seconds }: Timed): number {
  const fd = filled(folder);
  const log = newFile(folder);
  const buffer = Buffer.alloc(RECORD.length);
  return rateOf(seconds, (index) => {
    fs.writeSync(log, LINE);
    fs.readSync(fd, buffer, 0, buffer.length, (index % TO_READ) * RECORD.length);
    touch(JSON.parse(buffer.toString('utf8')) as Payload);
    fs.writeSync(log, LINE);
  });
}

/** Messages a second: the file read 256 KiB at a time, cut into lines, each parsed. */
export function deliverMany({ folder, seconds }: Timed): number {
  const fd = filled(folder);
  const buffer = Buffer.alloc(Math.floor(READ_BYTES / RECORD.length) * RECORD.length);
  const each = buffer.length / RECORD.length;
  const rounds = Math.floor((TO_READ * RECORD.length) / buffer.length);
  const read = (index: number): void => {
    fs.readSync(fd, buffer, 0, buffer.length, (index % rounds) * buffer.length);
    for (let start = 0; start < buffer.length; start += RECORD.length) {
      touch(JSON.parse(buffer.toString('utf8', start, start + RECORD.length)) as Payload);
    }
  };
  return rateOf(seconds, read) * each;
}

/** Milliseconds that reading all files of a queue takes. */
export function readFolder({ folder }: { folder: string }): number {
  const buffer = Buffer.alloc(READ_BYTES);
  const start = micros();
  for (const name of fs.readdirSync(folder)) {
    const fd = fs.openSync(join(folder, name), 'r');
    while (fs.readSync(fd, buffer) > 0);
    fs.closeSync(fd);
  }
  return (micros() - start) / 1000;
}

/** How much memory a Node process takes that has loaded what this one has, and no Coda. */
export function bareMemory({ unit }: { unit: number }): number {
  return process.memoryUsage.rss() / unit;
}

/** How long after each append to a watched file this process was woken, in milliseconds. */
export async function listenToFile(
  { folder, count }: { folder: string; count: number },
  parent: Parent,
): Promise<number[]> {
  const file = join(folder, 'watched');
  const fd = fs.openSync(file, 'a+');
  const delays: number[] = [];
  const line = Buffer.alloc(16);
  let watcher: fs.FSWatcher | undefined;
  const enough = new Promise<void>((resolve) => {
    watcher = fs.watch(folder, () => {
      const now = micros();
      // One append may raise several events, and one event tell of several appends.
      while (fs.readSync(fd, line, 0, line.length, delays.length * line.length) === line.length) {
        delays.push((now - Number(line.toString('latin1'))) / 1000);
      }
      if (delays.length === count) resolve();
    });
  });
  await parent.ready();
  await enough;
  watcher?.close();
  fs.closeSync(fd);
  return delays;
}

/** Appends the time to a file, `count` times. */
export async function appendTimes(
  { folder, count, pause }: { folder: string; count: number; pause: number },
  parent: Parent,
): Promise<void> {
  const fd = fs.openSync(join(folder, 'watched'), 'a');
  await parent.ready();
  for (let i = 0; i < count; i++) {
    fs.writeSync(fd, String(micros()).padStart(16));
    await sleep(pause);
  }
}

let checked = 0;
/** Keeps the engine from finding out that nobody looks at the result. */
function touch({ i }: Payload): void {
  checked += i;
}

function newFile(folder: string): number {
  return fs.openSync(join(folder, 'log'), 'ax');
}

function filled(folder: string): number {
  const file = join(folder, 'records');
  fs.writeFileSync(file, Buffer.concat(Array.from({ length: TO_READ }, () => RECORD)));
  return fs.openSync(file, 'r');
}

function synced(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()));
  });
}
