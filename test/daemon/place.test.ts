import fs, { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { knock, tellOrder } from '../../src/daemon/life-sign.ts';
import { keepState } from '../../src/daemon/keeper.ts';
import { lifeOf, pathsOf, readHolder, takePlace, type Holder, type Place } from '../../src/daemon/place.ts';
import { judge } from '../../src/daemon/verify.ts';
import { nodeProcesses, type Identity } from '../../src/process-table.ts';

let stateDir: string;
const places: Place[] = [];

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'coda-place-'));
});
afterEach(async () => {
  for (const place of places.splice(0)) await place.release();
  rmSync(stateDir, { recursive: true });
});

async function take(name = 'mails', folder = stateDir): Promise<Place> {
  const place = await takePlace(folder, name);
  places.push(place);
  return place;
}

const self = nodeProcesses.self();
/** One that had this process's number before it. */
const gone: Partial<Identity> = { start: '1' };

/** Has `who` stand where a holder of `token` puts itself. */
function stands(file: string, token: string, who: Partial<Identity> = gone): Holder {
  const { pid, ...rest } = { ...self, ...who };
  writeFileSync(join(stateDir, file), `${pid}\n${JSON.stringify({ token, ...rest })}\n`);
  return { token, who: { pid, ...rest } };
}

const A = 'a'.repeat(16);
const B = 'b'.repeat(16);
const C = 'c'.repeat(16);

describe('a place', () => {
  test('is taken once, and again when it was left', async () => {
    const place = await take();
    await expect(take()).rejects.toMatchObject({ code: 'DAEMON_RUNNING' });
    await expect(take('other')).resolves.toBeDefined();
    expect(place.predecessor).toBeUndefined();
    await place.release();
    expect((await take()).predecessor).toBeUndefined();
  });

  test('leaves nothing behind, but what says that it is taken', async () => {
    const place = await take();
    const { token } = place.holder;
    expect(readdirSync(stateDir).sort()).toEqual([`.${token}.sock`, 'mails.pid']);
    expect(fs.statSync(place.paths.pid).mode & 0o777).toBe(0o600);
    expect(fs.readFileSync(place.paths.pid, 'utf8').split('\n')[0]).toBe(String(process.pid));
    await place.release();
    expect(readdirSync(stateDir)).toEqual([]);
  });

  test('that the dead hold is taken over, with all they have left', async () => {
    const dead = stands('mails.pid', A);
    stands(`.mails.pid-${B}`, B);
    stands(`.mails.pid-${B}-2`, B);
    writeFileSync(join(stateDir, `.${A}.sock`), '');
    writeFileSync(join(stateDir, `.${B}.sock`), '');
    // Of somebody else.
    stands(`.other.pid-${B}`, B);
    const place = await take();
    expect(place.predecessor).toEqual(dead);
    expect(readHolder(place.paths.pid)).toEqual(place.holder);
    expect(readdirSync(stateDir).sort()).toEqual([
      `.${place.holder.token}.sock`,
      `.other.pid-${B}`,
      'mails.pid',
    ]);
  });

  test('is not taken while the heir of the dead, who has not put up its name yet, lives', async () => {
    stands('mails.pid', A);
    stands(`.mails.after-${A}`, B, {});
    await expect(take()).rejects.toThrow(`daemon mails runs already, as process ${process.pid}`);
    expect(readdirSync(stateDir).sort()).toEqual([`.mails.after-${A}`, 'mails.pid']);
  });

  test('is taken from the last heir, when all are dead', async () => {
    stands('mails.pid', A);
    stands(`.mails.after-${A}`, B);
    const last = stands(`.mails.after-${B}`, C);
    expect((await take()).predecessor).toEqual(last);
    expect(readdirSync(stateDir).filter((name) => name.includes('after'))).toEqual([]);
  });

  test('whose heirs stand in a circle is refused to all who ask: files of ours never do', async () => {
    stands('mails.pid', A);
    stands(`.mails.after-${A}`, B);
    stands(`.mails.after-${B}`, A);
    const refused = { code: 'STORAGE_FAILED', message: expect.stringContaining('who came before') as string };
    await expect(take()).rejects.toMatchObject(refused);
    await expect(judge(stateDir, 'mails')).rejects.toMatchObject(refused);
  });

  test.each([2 ** 31, 2 ** 32 + 1, 9_999_999_999])(
    'is taken from a process of number %d, which nobody can have',
    async (pid) => {
      const holder = stands('mails.pid', A, { pid });
      expect((await take()).predecessor).toEqual(holder);
    },
  );

  test('is not taken by way of a claim that is withdrawn meanwhile', async () => {
    stands('mails.pid', A);
    // B came too late for another place, and has died since.
    stands(`.mails.after-${A}`, B);
    const { linkSync } = fs;
    const link = vi.spyOn(fs, 'linkSync').mockImplementationOnce((from, to) => {
      rmSync(join(stateDir, `.mails.after-${A}`));
      stands(`.mails.after-${A}`, C, {});
      linkSync(from, to);
    });
    await expect(take()).rejects.toMatchObject({ code: 'DAEMON_RUNNING' });
    expect(link).toHaveBeenCalledWith(expect.anything(), join(stateDir, `.mails.after-${B}`));
    expect(readdirSync(stateDir).sort()).toEqual([`.mails.after-${A}`, 'mails.pid']);
    link.mockRestore();
  });

  test('is not taken from the dead whom another has succeeded, and cleared away, meanwhile', async () => {
    stands('mails.pid', A);
    const { linkSync } = fs;
    const link = vi.spyOn(fs, 'linkSync').mockImplementationOnce((from, to) => {
      stands('mails.pid', C, {});
      linkSync(from, to);
    });
    await expect(take()).rejects.toMatchObject({ code: 'DAEMON_RUNNING' });
    expect(readHolder(join(stateDir, 'mails.pid'))?.token).toBe(C);
    expect(readdirSync(stateDir)).toEqual(['mails.pid']);
    link.mockRestore();
  });

  test('of a draft that somebody is just writing is not cleared of that', async () => {
    writeFileSync(join(stateDir, `.mails.pid-${B}`), '');
    await take();
    expect(readdirSync(stateDir)).toContain(`.mails.pid-${B}`);
  });

  test.each(['', '.', '..', '.mails', '../mails', 'a/b', 'a\\b', 'a\0', 'x'.repeat(65), 'é', 'a\nb'])(
    'of the name %j there is none',
    async (name) => {
      await expect(take(name)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      expect(() => pathsOf(stateDir, name)).toThrow('expected the name of a daemon');
      expect(readdirSync(stateDir)).toEqual([]);
    },
  );

  test('in a folder whose path is longer than that of a socket may be', async () => {
    const deep = join(stateDir, 'x'.repeat(100), 'y'.repeat(100));
    const place = await take('mails', deep);
    expect(await knock(deep, place.holder.token)).toBe(process.platform === 'linux' ? 'alive' : 'unknown');
    expect(readdirSync(stateDir)).toEqual(['x'.repeat(100)]);
    await place.release();
    expect(readdirSync(deep)).toEqual([]);
  });

  test('in a folder that is a link to one', async () => {
    mkdirSync(join(stateDir, 'real'));
    symlinkSync('real', join(stateDir, 'link'));
    await take('mails', join(stateDir, 'link'));
    await expect(take('mails', join(stateDir, 'real'))).rejects.toMatchObject({ code: 'DAEMON_RUNNING' });
  });

  test.each([
    ['a link', (path: string) => symlinkSync('nowhere', path), 'found a link'],
    ['a folder', (path: string) => mkdirSync(path), 'found a folder'],
    ['much', (path: string) => writeFileSync(path, 'x'.repeat(100_000)), 'found one of 100000 bytes'],
    ['garbage', (path: string) => writeFileSync(path, '\u001b'), 'found "\\u001b"'],
  ])('with %s for a pid file is refused', async (_, make, said) => {
    make(join(stateDir, 'mails.pid'));
    await expect(take()).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringContaining(said) as string,
    });
    expect(readdirSync(stateDir)).toEqual(['mails.pid']);
  });
});

describe('who has a place', () => {
  test('is alive, when it is this very process', async () => {
    expect(await lifeOf({ who: self, token: A }, stateDir)).toBe('alive');
  });

  test.each([
    ['has another start time', { start: '1' }],
    ['was there before the machine started', { boot: 'earlier', pidNamespace: 'pid:[1]' }],
    ['has a number that nobody has', { pid: 2 ** 22 + 1 }],
  ])('is dead, when it %s', async (_, who) => {
    expect(await lifeOf({ who: { ...self, ...who }, token: A }, stateDir)).toBe('dead');
  });

  test('in another container is what its sign says', async () => {
    const elsewhere = { who: { ...self, pid: 1, pidNamespace: 'pid:[1]' }, token: A };
    expect(await lifeOf(elsewhere, stateDir)).toBe('unknown');
    stands('mails.pid', A, elsewhere.who);
    await expect(take()).rejects.toThrow(
      /may run already, as process 1 of another container.*remove ".*mails\.pid"/,
    );
    const server = await socket(A);
    expect(await lifeOf(elsewhere, stateDir)).toBe('alive');
    await new Promise((resolve) => server.close(resolve));
    await deadSocket(A);
    expect(await lifeOf(elsewhere, stateDir)).toBe('dead');
    expect((await take()).predecessor).toEqual(elsewhere);
  });

  test('waits for no visitor when it leaves', async () => {
    const place = await take();
    const visitor = connect(join(stateDir, `.${place.holder.token}.sock`));
    await once(visitor, 'connect');
    await place.release();
    await once(visitor.resume(), 'close');
    expect(readdirSync(stateDir)).toEqual([]);
  });

  test('hears orders that are ones, and nothing else', async () => {
    const place = await take();
    const orders: string[] = [];
    place.onOrder((order) => orders.push(order));
    const { token } = place.holder;
    expect(await tellOrder(stateDir, token, 'reload')).toBe(true);
    expect(await tellOrder(stateDir, token, 'stop')).toBe(true);
    for (const text of ['stopp', 'x'.repeat(100_000), '{}', '']) {
      expect(await tellOrder(stateDir, token, text as 'stop')).toBe(false);
    }
    expect(await tellOrder(stateDir, B, 'stop')).toBe(false);
    expect(orders).toEqual(['reload', 'stop']);
  });
});

function socket(token: string): Promise<Server> {
  const server = createServer((visitor) => visitor.destroy());
  return new Promise((resolve) => server.listen(join(stateDir, `.${token}.sock`), () => resolve(server)));
}

/** What is left of one whose process was killed: nobody listens any more. */
async function deadSocket(token: string): Promise<void> {
  const server = await socket(B);
  fs.linkSync(join(stateDir, `.${B}.sock`), join(stateDir, `.${token}.sock`));
  await new Promise((resolve) => server.close(resolve));
}

describe('files that somebody removes under one that lives', () => {
  test('are put up again: the pid file, the sign of life, the whole folder', async () => {
    const place = await take();
    const before = readdirSync(stateDir).sort();
    rmSync(place.paths.pid);
    await place.keep();
    expect(readdirSync(stateDir).sort()).toEqual(before);
    rmSync(stateDir, { recursive: true });
    expect(await knock(stateDir, place.holder.token)).toBe('unknown');
    await Promise.all([place.keep(), place.keep()]);
    expect(readdirSync(stateDir).sort()).toEqual(before);
    expect(readHolder(place.paths.pid)).toEqual(place.holder);
    expect(await knock(stateDir, place.holder.token)).toBe('alive');
    await expect(take()).rejects.toMatchObject({ code: 'DAEMON_RUNNING' });
  });

  test('are put up in the place of those of the dead', async () => {
    const place = await take();
    stands('mails.pid', A);
    await place.keep();
    expect(readHolder(place.paths.pid)).toEqual(place.holder);
  });

  test('are not put up once it has left, or where somebody else has the place by now', async () => {
    const first = await take();
    rmSync(first.paths.pid);
    const second = await take();
    await expect(first.keep()).rejects.toMatchObject({ code: 'DAEMON_RUNNING' });
    expect(readHolder(second.paths.pid)).toEqual(second.holder);
    await first.release();
    expect(readHolder(second.paths.pid)).toEqual(second.holder);
    rmSync(second.paths.pid);
    await Promise.all([second.keep(), second.release()]);
    await second.keep();
    expect(readdirSync(stateDir)).toEqual([]);
  });

  test('are told where they cannot be put up', async () => {
    const place = await take();
    rmSync(stateDir, { recursive: true });
    writeFileSync(stateDir, '');
    await expect(place.keep()).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    rmSync(stateDir);
    mkdirSync(stateDir);
    mkdirSync(place.paths.pid);
    await expect(place.keep()).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  });

  test('are put up in the place of a file that names nobody', async () => {
    const place = await take();
    for (const text of ['', 'what is this?', '12\n{}\n']) {
      writeFileSync(place.paths.pid, text);
      await place.keep();
      expect(readHolder(place.paths.pid)).toEqual(place.holder);
    }
    await place.release();
    expect(readdirSync(stateDir)).toEqual([]);
  });

  test('let nobody else in as long as the state file says that it lives', async () => {
    const place = await take();
    const keeper = keepState(place, {
      limit: 1000,
      background: true,
      clean: (text) => text,
      onTrouble: (error) => expect.fail(error.message),
    });
    rmSync(place.paths.pid);
    await expect(take()).rejects.toMatchObject({
      code: 'DAEMON_RUNNING',
      message: `daemon mails runs already, as process ${process.pid}`,
    });
    expect(await judge(stateDir, 'mails')).toMatchObject({ standing: 'starting', holder: place.holder });
    keeper.ended('told');
    expect(await judge(stateDir, 'mails')).toMatchObject({ standing: 'stopped', holder: undefined });
    await take();
  });

  test("are nobody's where the state file tells of one who has died", async () => {
    const place = await take();
    const options = { limit: 1000, background: true, clean: String, onTrouble: () => expect.fail() };
    keepState(place, options);
    const state = fs.readFileSync(place.paths.state, 'utf8');
    await place.release();
    writeFileSync(place.paths.state, state.replace(/"start":"\d+"/, '"start":"1"'));
    await take();
  });
});
