/**
 * What a remote process does by itself, in a loop, rather than call by call. Each is given the queue, its options, and
 * the backend.
 */
import { fsyncSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Adds `count` messages `{ producer, n }`, `chunk` at a time. */
async function produce(queue, { producer, count, chunk, alias = false, size = 0 }) {
  const filler = 'x'.repeat(size);
  for (let n = 0; n < count; n += chunk) {
    const numbers = Array.from({ length: Math.min(chunk, count - n) }, (_, i) => n + i);
    await queue.add(
      numbers.map((number) => ({
        json: JSON.stringify(size > 0 ? { producer, n: number, filler } : { producer, n: number }),
        alias: alias ? `${producer}/${number}` : '',
        retries: 0,
        disabled: false,
        username: '',
      })),
    );
  }
}

/** Segment and offset of a claimed message, as its token tells. */
function placeOf(token) {
  const [, segment, offset] = /@(\d+)\.(\d+)\//.exec(token);
  return [Number(segment), Number(offset)];
}

/**
 * Claims and completes until `expected` messages of the queue have been processed, by whomever. Tells what it was
 * given, a list of `[segment, offset, producer, n]` for each claim, and how often a settle was refused.
 */
async function consume(queue, { limit, expected }) {
  const claims = [];
  let refused = 0;
  for (;;) {
    const claimed = await queue.claim(limit, 60_000);
    if (claimed.length === 0) {
      if ((await queue.status()).processed >= expected) return { claims, refused };
      await queue.wait(500);
      continue;
    }
    claims.push(claimed.map(({ token, data }) => [...placeOf(token), data.producer, data.n]));
    const settled = await Promise.all(claimed.map((claim) => queue.settle(claim, { type: 'complete' })));
    refused += settled.filter((done) => !done).length;
  }
}

/** Every message that matches. */
async function findAll(queue, filter) {
  const found = [];
  for await (const message of queue.find(filter)) found.push(message);
  return found;
}

function newestSegment(folder) {
  const segments = readdirSync(folder).filter((name) => name.endsWith('.journal'));
  return Math.max(...segments.map((name) => Number.parseInt(name, 10)));
}

/**
 * Adds and removes again until the queue has moved on by `count` segments; what else is in it stays as it is. The file
 * `done` then appears, for who cannot wait for an answer.
 */
async function moveOn(queue, { folder, count, done }) {
  const target = newestSegment(folder) + count;
  const json = JSON.stringify('x'.repeat(20_000));
  while (newestSegment(folder) < target) {
    const [{ uuid }] = await queue.add([{ json, alias: '', retries: 0, disabled: false, username: '' }]);
    await queue.change({ type: 'remove', uuid });
  }
  writeFileSync(done, '');
}

/** Claims `limit` messages and keeps them. The file `done` then appears. */
async function hold(queue, { limit, done }) {
  await queue.claim(limit, 600_000);
  writeFileSync(done, '');
}

/** Notes that outlive the process: each is on the device before the next step is taken. */
function openNotes(path) {
  const fd = openSync(path, 'a');
  return (...lines) => {
    writeSync(fd, lines.map((line) => `${line.join(' ')}\n`).join(''));
    fsyncSync(fd);
  };
}

/** Comparable between the processes of a machine; milliseconds. */
const now = () => Number(process.hrtime.bigint()) / 1e6;

async function untilFewer(queue, most) {
  while ((await queue.status()).messagesToProcess > most) await sleep(5);
}

/**
 * Adds for as long as it lives, a message `{ id }` or several at a time, and notes `try <id>` before and `added <id>`
 * after. Pauses `pause` ms in between, and while more than `most` messages wait; without `most` it never looks at the
 * queue.
 */
async function produceNoting(queue, { notes, batch, size, pause, most }, backend) {
  const note = openNotes(notes);
  const filler = 'x'.repeat(size);
  try {
    for (let n = 0; ; n += batch) {
      await sleep(pause);
      if (most !== undefined) await untilFewer(queue, most);
      const ids = Array.from({ length: batch }, (_, i) => `${process.pid}/${n + i}`);
      note(...ids.map((id) => ['try', id]));
      const added = await queue.add(
        ids.map((id) => ({
          json: JSON.stringify({ id, filler }),
          alias: id,
          retries: 0,
          disabled: false,
          username: '',
        })),
      );
      note(...added.map(({ alias }) => ['added', alias]));
      if (backend.lastError()) throw backend.lastError();
    }
  } catch (error) {
    note(['error', error.code, error.message]);
    throw error;
  }
}

/**
 * Works for as long as it lives. Notes `given <id> <when asked for>`, then, before and after settling,
 * `settle <id> <how>` and `settled <id> <how> <when>`; a settle that was refused is noted as `refused`.
 */
async function workNoting(queue, { notes, limit }, backend) {
  const note = openNotes(notes);
  try {
    for (;;) {
      const asked = now();
      const claims = await queue.claim(limit, 60_000);
      if (claims.length === 0) {
        await queue.wait(200);
        continue;
      }
      note(...claims.map(({ data }) => ['given', data.id, asked]));
      // So that death finds it with messages in hand as often as not.
      await sleep(Math.random() * 10);
      const hows = claims.map(() =>
        Math.random() < 0.8 ? 'complete' : Math.random() < 0.5 ? 'fail' : 'release',
      );
      note(...claims.map(({ data }, i) => ['settle', data.id, hows[i]]));
      const error = { at: new Date().toISOString(), attempt: 1, name: 'Error', message: 'once more' };
      const settlements = {
        complete: { type: 'complete' },
        fail: { type: 'fail', error, due: Date.now() + 20 },
        release: { type: 'release' },
      };
      const settled = await Promise.all(claims.map((claim, i) => queue.settle(claim, settlements[hows[i]])));
      note(...claims.map(({ data }, i) => [settled[i] ? 'settled' : 'refused', data.id, hows[i], now()]));
      if (backend.lastError()) throw backend.lastError();
    }
  } catch (error) {
    note(['error', error.code, error.message]);
    throw error;
  }
}

export const tasks = { produce, consume, findAll, moveOn, hold, produceNoting, workNoting };
