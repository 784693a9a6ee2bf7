/**
 * Producers and workers killed at random while others go on. Each process writes down, in a file of its own, what it
 * was about to do and what it was told; in the end these files are compared with each other and with what is left.
 */
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { listFiles, newestSegment, readSegment } from './journal-files.ts';
import { stageTest, until, type Remote, type Stage } from './stage.ts';

const KILLS = 60;
/** More, as long as no death has cut a record in two. */
const MOST_KILLS = 150;

/** A message may lose any number of workers here. */
const test = stageTest({ segmentBytes: 256 * 1024, crashLimit: 100_000 });

interface Role {
  play(stage: Stage, notes: string): Promise<Remote>;
  /** Resolves when it is time to kill. */
  moment(folder: string): Promise<void>;
}

const anyMoment = (): Promise<void> => sleep(Math.random() * 150);

/** Writes of more than a megabyte, killed in the act. Waits for no device, so that most of its time is writing. */
const heavyProducer: Role = {
  async play(stage, notes) {
    const remote = await stage.start({ durability: 'os' });
    void remote.tasks.produceNoting({ notes, batch: 4, size: 300_000, pause: 0, most: 50 });
    return remote;
  },
  async moment(folder) {
    await anyMoment();
    watchForWrite(folder);
  },
};

const lightProducer: Role = {
  async play(stage, notes) {
    const remote = await stage.start();
    void remote.tasks.produceNoting({ notes, batch: 3, size: 200, pause: 10 });
    return remote;
  },
  moment: anyMoment,
};

const worker: Role = {
  async play(stage, notes) {
    const remote = await stage.start();
    void remote.tasks.workNoting({ notes, limit: 5 });
    return remote;
  },
  moment: anyMoment,
};

const ROLES: readonly Role[] = [heavyProducer, worker, lightProducer, worker, lightProducer];

/** Returns in the middle of a large write, or when none has begun for a while. Holds up this process meanwhile. */
function watchForWrite(folder: string): void {
  const deadline = performance.now() + 200;
  while (performance.now() < deadline) {
    const path = join(folder, listFiles(folder).segments.at(-1)!);
    let size = sizeOf(path);
    for (let look = 0; look < 1000; look++) {
      const grown = sizeOf(path);
      if (grown - size > 32 * 1024) return;
      size = grown;
    }
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

interface Notes {
  tried: Set<string>;
  added: Set<string>;
  /** When each was last asked for by a worker that was given it. */
  given: Map<string, number>;
  /** Completions about to happen, and those that were confirmed: how often, and when. */
  completing: Set<string>;
  completed: Map<string, { times: number; at: number }>;
  refused: string[];
  errors: string[];
}

function readNotes(folder: string): Notes {
  const notes: Notes = {
    tried: new Set(),
    added: new Set(),
    given: new Map(),
    completing: new Set(),
    completed: new Map(),
    refused: [],
    errors: [],
  };
  for (const name of readdirSync(folder)) {
    // The last line may have been cut off with its process.
    for (const line of readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1)) {
      const [what, id = '', ...rest] = line.split(' ');
      if (what === 'try') notes.tried.add(id);
      else if (what === 'added') notes.added.add(id);
      else if (what === 'given') notes.given.set(id, Math.max(notes.given.get(id) ?? 0, Number(rest[0])));
      else if (what === 'settle' && rest[0] === 'complete') notes.completing.add(id);
      else if (what === 'settled' && rest[0] === 'complete') {
        const times = (notes.completed.get(id)?.times ?? 0) + 1;
        notes.completed.set(id, { times, at: Number(rest[1]) });
      } else if (what === 'refused') notes.refused.push(line);
      else if (what === 'error') notes.errors.push(line);
    }
  }
  return notes;
}

/** Completes whatever is left, and tells what it was. */
async function drain(queue: Queue): Promise<string[]> {
  const left: string[] = [];
  await until(async () => {
    const claims = await queue.claim(50, 60_000);
    left.push(...claims.map(({ data }) => (data as { id: string }).id));
    for (const claim of claims) expect(await queue.settle(claim, { type: 'complete' })).toBe(true);
    if (claims.length > 0) return false;
    if ((await queue.status()).messagesToProcess === 0) return true;
    await queue.wait(1000, undefined);
    return false;
  });
  return left;
}

/** Notes the records that were cut in two, before their segments are gone. */
function countTorn(folder: string, torn: Set<string>): void {
  for (const name of listFiles(folder).segments) {
    try {
      const { number, bad } = readSegment(folder, name);
      for (const { offset } of bad) torn.add(`${number}:${offset}`);
    } catch (error) {
      // Spent and deleted since it was listed.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

test('sixty deaths at random moments lose nothing, repeat nothing that was confirmed, and stop nobody', async ({
  stage,
  queue,
}) => {
  const folder = join(stage.folder, 'notes');
  mkdirSync(folder);
  let started = 0;
  const start = (role: Role): Promise<Remote> => role.play(stage, join(folder, String(started++)));
  const cast = ROLES.map((role) => ({ role, remote: start(role) }));
  const torn = new Set<string>();
  let kills = 0;
  while (kills < KILLS || (torn.size === 0 && kills < MOST_KILLS)) {
    const victim = cast[kills % cast.length]!;
    const remote = await victim.remote;
    await victim.role.moment(stage.queueFolder);
    await remote.kill();
    kills++;
    victim.remote = start(victim.role);
    countTorn(stage.queueFolder, torn);
  }
  for (const { remote } of cast) await (await remote).kill();
  countTorn(stage.queueFolder, torn);
  const left = await drain(queue);
  const status = await queue.status();
  const notes = readNotes(folder);
  console.log(
    `${kills} deaths, ${torn.size} torn records, ${notes.added.size} messages added, ${notes.completed.size} completed, ${left.length} left, ${newestSegment(stage.queueFolder)} segments`,
  );

  expect(notes.errors).toEqual([]);
  expect(await stage.complaints()).toEqual([]);
  expect(status).toMatchObject({ messagesToProcess: 0, damaged: 0, counts: { failed: 0 } });
  // Nobody's claim was taken away while it lived.
  expect(notes.refused).toEqual([]);

  const leftOver = new Set(left);
  expect(left).toHaveLength(leftOver.size);
  const known = (id: string): boolean => notes.completed.has(id) || leftOver.has(id);
  // Its worker died between the completion and the note of it: done, though nobody was told.
  const silently = [...notes.completing].filter((id) => !known(id));
  const missing = [...notes.added].filter((id) => !known(id) && !notes.completing.has(id));
  expect(missing).toEqual([]);
  expect([...notes.completed].filter(([, { times }]) => times > 1)).toEqual([]);
  expect([...notes.completed.keys()].filter((id) => leftOver.has(id))).toEqual([]);
  expect([...notes.completed].filter(([id, { at }]) => notes.given.get(id)! > at)).toEqual([]);
  expect([...notes.completed.keys(), ...left].filter((id) => !notes.tried.has(id))).toEqual([]);
  const counted = status.processed - notes.completed.size - left.length;
  expect(counted).toBeGreaterThanOrEqual(0);
  expect(counted).toBeLessThanOrEqual(silently.length);
  // Enough of everything, or this was no torture.
  expect(notes.added.size).toBeGreaterThan(100);
  expect(notes.completed.size).toBeGreaterThan(100);
  expect(torn.size).toBeGreaterThan(0);
});
