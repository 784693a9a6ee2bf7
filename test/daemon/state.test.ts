import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { QueueError } from '../../src/errors.ts';
import { takePlace, type Place } from '../../src/daemon/place.ts';
import { keepState, type StateKeeper } from '../../src/daemon/keeper.ts';
import { readState, type DaemonState } from '../../src/daemon/state.ts';
import { judge, knownNames } from '../../src/daemon/verify.ts';
import { until } from '../processes/stage.ts';

let stateDir: string;
let place: Place;
let troubles: QueueError[];

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'coda-state-'));
  place = await takePlace(stateDir, 'mails');
  troubles = [];
});
afterEach(async () => {
  await place.release();
  rmSync(stateDir, { recursive: true });
});

function keep(limit = 60_000, background = false): StateKeeper {
  const clean = (text: string): string => text.replaceAll('hunter2', '[redacted]');
  return keepState(place, { limit, background, clean, onTrouble: (error) => troubles.push(error) });
}

function read(): DaemonState {
  const state = readState(place.paths.state);
  if (!state) throw new Error('expected a state');
  return state;
}

/** The place as it is left by a process that was killed. */
async function die(): Promise<void> {
  const pidFile = readFileSync(place.paths.pid, 'utf8');
  await place.release();
  writeFileSync(place.paths.pid, pidFile.replace(/"start":"\d+"/, '"start":"1"'));
  place = await takePlace(stateDir, 'mails');
}

describe('the state', () => {
  test('tells no secret of the configuration, whichever way one comes', () => {
    const keeper = keep();
    keeper.started();
    keeper.checked(false, 'no answer to hunter2');
    keeper.iterationEnded({ error: new Error('hunter2 was refused') });
    keeper.troubled(['one camera: hunter2']);
    keeper.reloaded({ error: new Error('not with hunter2') });
    const kept = JSON.stringify(read());
    keeper.ended({ error: new Error('hunter2!') });
    for (const text of [kept, JSON.stringify(read())]) {
      expect(text).not.toContain('hunter2');
      expect(text).toContain('[redacted]');
    }
    expect(kept.match(/\[redacted\]/g)).toHaveLength(4);
  });

  test('tells the troubles of a daemon that works, as many as there is room for, until it ends', async () => {
    const keeper = keep();
    keeper.started();
    keeper.troubled(['camera 1 is blind']);
    // The next word is one that is written at once.
    keeper.sleeping(new Date(Date.now() + 3_600_000));
    expect(await judge(stateDir, 'mails')).toMatchObject({
      standing: 'running',
      reason: 'camera 1 is blind',
    });
    keeper.troubled(Array.from({ length: 1000 }, () => 'x'.repeat(1000)));
    keeper.reloading();
    expect(read().troubles).toHaveLength(21);
    expect(read().troubles.at(-1)).toBe('and 980 more');
    expect(read().troubles[0]).toHaveLength(300);
    keeper.ended('told');
    expect(read().troubles).toEqual([]);
  });

  test('of one whose process ends unasked says why, and that counts as a crash', async () => {
    keep().crashed({ error: new Error('out of luck') });
    await die();
    expect(await judge(stateDir, 'mails')).toMatchObject({ standing: 'starting' });
    keep();
    expect(read()).toMatchObject({ crashes: 1, end: null });
  });

  test('is not written any more by who has lost the place', () => {
    const keeper = keep();
    keeper.started();
    const before = readFileSync(place.paths.state, 'utf8');
    keeper.disown();
    keeper.iterationStarted();
    keeper.ended('told');
    expect(readFileSync(place.paths.state, 'utf8')).toBe(before);
  });

  test('tells what was done, and how it went', async () => {
    const keeper = keep();
    expect(read()).toMatchObject({
      name: 'mails',
      pid: process.pid,
      phase: 'starting',
      upAt: null,
      sessions: 0,
    });
    keeper.started();
    keeper.iterationStarted();
    keeper.iterationEnded();
    keeper.iterationStarted();
    keeper.iterationEnded({ error: undefined });
    keeper.iterationStarted();
    keeper.iterationEnded({ error: new TypeError('x'.repeat(100_000)) });
    const until = new Date(Date.now() + 3_600_000);
    keeper.sleeping(until);
    const state = read();
    expect(state).toMatchObject({
      phase: 'sleeping',
      sessions: 3,
      failuresInRow: 2,
      sleepUntil: until.toISOString(),
      lastError: { name: 'TypeError' },
      betweenSessions: { longest: expect.any(Number) as number },
    });
    expect(state.lastError?.message).toHaveLength(1000);
    expect(state.lastSuccessAt).not.toBeNull();
    expect(state.due.monotonic - process.hrtime()[0] * 1000).toBeGreaterThan(3_600_000);
    keeper.ended('itself');
    expect(read()).toMatchObject({ phase: 'ended', end: { why: 'itself', error: null } });
    expect(readdirSync(stateDir).filter((name) => name.includes('state'))).toEqual(['mails.state.json']);
  });

  test('is written soon, though not for each of a thousand iterations a second', async () => {
    const keeper = keep();
    keeper.started();
    const seen = new Set<number>();
    for (let i = 0; i < 1000; i++) {
      keeper.iterationStarted();
      keeper.iterationEnded();
      seen.add(read().sessions);
    }
    expect(seen.size).toBeLessThan(500);
    await until(() => read().sessions === 1000);
    keeper.ended('told');
  });

  test('counts the deaths of those before, and begins the rest anew', async () => {
    keep().started();
    await die();
    expect((await judge(stateDir, 'mails')).standing).toBe('starting');
    const keeper = keep();
    expect(read()).toMatchObject({ crashes: 1, sessions: 0 });
    keeper.ended('told');
    // Killed after its last word.
    await die();
    keep().ended('told');
    expect(read()).toMatchObject({ crashes: 1 });
  });

  test('may be damaged, and is begun anew, which is told', async () => {
    writeFileSync(place.paths.state, '{"version":');
    keep().started();
    expect(troubles.map(({ message }) => message)).toEqual([
      expect.stringContaining('found "{\\"version\\":"') as string,
    ]);
    expect(read()).toMatchObject({ phase: 'working' });
  });

  test('that cannot be written is told once, and does not disturb the daemon', async () => {
    const keeper = keep();
    rmSync(place.paths.state);
    mkdirSync(join(place.paths.state, 'full'), { recursive: true });
    keeper.started();
    keeper.reloading();
    keeper.reloaded();
    expect(troubles.map(({ code }) => code)).toEqual(['STORAGE_FAILED']);
    rmSync(place.paths.state, { recursive: true });
    keeper.started();
    expect(read()).toMatchObject({ reloads: { count: 1 } });
  });

  test('is not written through a link', async () => {
    const victim = join(stateDir, 'victim');
    writeFileSync(victim, 'precious');
    rmSync(join(stateDir, '.mails.state'), { force: true });
    symlinkSync(victim, join(stateDir, '.mails.state'));
    const keeper = keep();
    keeper.started();
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    expect(troubles).toHaveLength(1);
    rmSync(join(stateDir, '.mails.state'));
    linkSync(victim, join(stateDir, 'other'));
    symlinkSync(victim, place.paths.state);
    keeper.started();
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    expect(read()).toMatchObject({ phase: 'working' });
  });

  const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
  test.runIf(isRoot)('goes on being written when the disk is full', async () => {
    const disk = join(stateDir, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', disk]);
    try {
      const small = await takePlace(disk, 'mails');
      const keeper = keepState(small, {
        limit: 1000,
        background: false,
        clean: (text) => text,
        onTrouble: (error) => troubles.push(error),
      });
      keeper.started();
      let size = 128 * 1024;
      for (let i = 0; size >= 1; i++) {
        try {
          writeFileSync(join(disk, `ballast-${i}`), 'x'.repeat(size));
        } catch {
          size = Math.floor(size / 2);
        }
      }
      for (let i = 0; i < 20; i++) {
        keeper.reloaded();
        expect(readState(small.paths.state)).toMatchObject({ reloads: { count: i + 1 } });
      }
      expect(troubles).toEqual([]);
      keeper.ended('told');
      await small.release();
    } finally {
      execFileSync('umount', ['-l', disk]);
    }
  });
});

describe('a daemon', () => {
  test('is stalled when it is late, and not when it sleeps, is told to stop, or gets on', async () => {
    const standing = async (): Promise<string> => (await judge(stateDir, 'mails')).standing;
    const keeper = keep(200);
    expect(await standing()).toBe('starting');
    await until(async () => (await standing()) === 'stalled');
    keeper.started(300);
    expect(await standing()).toBe('running');
    keeper.sleeping(new Date(Date.now() + 3_600_000));
    // Longer than its limit.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await standing()).toBe('running');
    keeper.iterationStarted();
    await until(async () => (await standing()) === 'stalled');
    keeper.progressed();
    await until(async () => (await standing()) === 'running');
    keeper.stopping(3_600_000);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await standing()).toBe('running');
    keeper.ended({ error: new Error('no more') });
    await place.release();
    expect(await judge(stateDir, 'mails')).toMatchObject({ standing: 'failed', reason: 'Error: no more' });
  });

  test('is unhealthy as long as it says so', async () => {
    const keeper = keep();
    keeper.started();
    keeper.checked(false, 'no database');
    expect(await judge(stateDir, 'mails')).toMatchObject({ standing: 'unhealthy', reason: 'no database' });
    keeper.checked(true);
    expect(await judge(stateDir, 'mails')).toMatchObject({ standing: 'running', reason: '' });
  });

  test('is known by what it has left', () => {
    keep();
    for (const name of ['a.b.pid', '.hidden.pid', 'x.log', `${'x'.repeat(65)}.pid`, 'c.state.json', 'notes'])
      writeFileSync(join(stateDir, name), '');
    expect(knownNames(stateDir)).toEqual(['a.b', 'c', 'mails']);
    expect(knownNames(join(stateDir, 'nowhere'))).toEqual([]);
    expect(existsSync(join(stateDir, 'nowhere'))).toBe(false);
  });
});
