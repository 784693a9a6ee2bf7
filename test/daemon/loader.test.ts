import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Daemon } from '../../src/daemon/daemon.ts';
import { findDaemon, listDaemons } from '../../src/daemon/loader.ts';
import { addDaemon, registered } from '../../src/daemon/registry.ts';
import * as library from '../../src/index.ts';

/** In order. */
const SHIPPED = ['callServer', 'queue', 'supervisor'];

let daemonsDir = '';

beforeEach(() => {
  daemonsDir = realpathSync(mkdtempSync(join(tmpdir(), 'coda-daemons-')));
});
afterEach(() => {
  rmSync(daemonsDir, { recursive: true });
  registered().clear();
});

function file(name: string, text: string): string {
  const path = join(daemonsDir, name);
  writeFileSync(path, text);
  return path;
}

async function load(name: string): Promise<{ daemon: Daemon; path: string | undefined }> {
  const found = await findDaemon(name, { daemonsDir, library });
  return { daemon: await found.load(), path: found.path };
}

const DAEMON = `import { Daemon } from 'coda-queue';
export default class extends Daemon { executeStart() {} }`;

class Idle extends Daemon {
  override executeStart(): void {
    return undefined;
  }
}

test('a daemon is the class in <name>Daemon.ts, .js or .mjs', async () => {
  for (const name of ['oneDaemon.ts', 'twoDaemon.js', 'threeDaemon.mjs']) file(name, DAEMON);
  for (const name of ['one', 'two', 'three']) {
    const { daemon, path } = await load(name);
    expect(daemon).toBeInstanceOf(Daemon);
    expect(path).toContain(`${name}Daemon.`);
  }
});

test('the one that ships is there in every folder, unless the folder has its own', async () => {
  expect((await load('queue')).path).toMatch(/daemons.queueDaemon\.ts$/);
  const path = file('queueDaemon.mjs', DAEMON);
  expect((await load('queue')).path).toBe(path);
});

test('what is listed are files of that form, those that ship, and those registered in code', async () => {
  for (const name of [
    'zebraDaemon.ts',
    'zebraDaemon.js',
    'noDaemon.d.ts',
    'Daemon.ts',
    '.xDaemon.ts',
    'y.ts',
  ])
    file(name, DAEMON);
  mkdirSync(join(daemonsDir, 'helpers'));
  addDaemon('ant', Idle);
  const list = await listDaemons({ daemonsDir, library });
  expect(list.map(({ name }) => name)).toEqual(['ant', ...SHIPPED, 'zebra']);
  expect(list.at(-1)?.path).toBe(join(daemonsDir, 'zebraDaemon.ts'));
  expect(await listDaemons({ daemonsDir: join(daemonsDir, 'absent'), library })).toHaveLength(
    SHIPPED.length + 1,
  );
});

test('a daemon registered in code comes before a file of that name; instance or class', async () => {
  file('idleDaemon.mjs', DAEMON);
  const idle = new Idle();
  addDaemon('idle', idle);
  addDaemon('lazy', Idle);
  expect(await load('idle')).toEqual({ daemon: idle, path: undefined });
  expect((await load('lazy')).daemon).toBeInstanceOf(Idle);
});

test('whoever asks while the index is being loaded waits for it', async () => {
  file(
    'index.ts',
    `import { addDaemon, Daemon } from 'coda-queue';
    await new Promise((resolve) => setTimeout(resolve, 20));
    addDaemon('late', class extends Daemon { executeStart() {} });`,
  );
  const [list, daemon] = await Promise.all([listDaemons({ daemonsDir, library }), load('late')]);
  expect(list.map(({ name }) => name)).toEqual(['late', ...SHIPPED].sort());
  expect(daemon.path).toBeUndefined();
});

test('index.ts is where daemons are registered; it is loaded once', async () => {
  file(
    'index.ts',
    `import { addDaemon, Daemon } from 'coda-queue';
    class Of extends Daemon { constructor(readonly city: string) { super(); } executeStart() {} }
    for (const city of ['bari', 'rome']) addDaemon('anpr-' + city, new Of(city) as Daemon);`.replace(
      'constructor(readonly city: string) { super(); }',
      'city: string; constructor(city: string) { super(); this.city = city; }',
    ),
  );
  expect((await load('anpr-rome')).daemon).toMatchObject({ city: 'rome' });
  const names = (await listDaemons({ daemonsDir, library })).map(({ name }) => name);
  expect(names).toEqual(['anpr-bari', 'anpr-rome', ...SHIPPED]);
});

test.each([
  ['', 'INVALID_ARGUMENT', 'received ""'],
  ['../../etc/passwd', 'INVALID_ARGUMENT', 'the name of a daemon'],
  ['.hidden', 'INVALID_ARGUMENT', 'no leading'],
  ['a'.repeat(65), 'INVALID_ARGUMENT', '1 to 64'],
  ['a\u001b[2J', 'INVALID_ARGUMENT', '\\u001b'],
  ['quue', 'UNKNOWN_DAEMON', 'did you mean queue?'],
  ['queueDaemon', 'UNKNOWN_DAEMON', 'did you mean queue?'],
  ['anpr', 'UNKNOWN_DAEMON', 'Looked for anprDaemon.ts, .js and .mjs'],
])('%j is refused', async (name, code, why) => {
  await expect(load(name)).rejects.toMatchObject({ code, message: expect.stringContaining(why) });
});

test.each([
  ['export default 1', 'expected its default export to be a class that extends Daemon, received a number'],
  ['export const a = 1', 'received nothing'],
  ['export default () => 1', 'received a function'],
  ['export default class { executeStart() {} }', 'received another class'],
  [
    `import { Daemon } from 'coda-queue'; export default class extends Daemon {}`,
    'expected a class with a method executeStart(), found no such method',
  ],
  ['export default class { constructor() { throw new Error("no \u001bluck"); } }', 'its constructor failed'],
  ['export default class {', 'cannot be loaded'],
  [`import 'nowhere-to-be-found'; export default 1`, 'cannot be loaded'],
])('a file that says %j is refused, and the file named', async (text, why) => {
  const path = file('badDaemon.mjs', text);
  await expect(load('bad')).rejects.toMatchObject({
    code: 'UNKNOWN_DAEMON',
    path,
    message: expect.stringContaining(why),
  });
});

test('an index that cannot be loaded is told of, whatever is looked for', async () => {
  const path = file('index.mjs', 'throw new Error("oops")');
  await expect(load('queue')).rejects.toMatchObject({
    code: 'UNKNOWN_DAEMON',
    path,
    message: expect.stringContaining('cannot be loaded: "oops"'),
  });
});

test('addDaemon refuses what is no daemon, no name, or there already', () => {
  addDaemon('idle', Idle);
  for (const [name, daemon] of [
    ['idle', Idle],
    ['../x', Idle],
    [undefined, Idle],
    ['x', {}],
    ['x', null],
    ['x', 'Idle'],
    ['x', Map],
    ['x', () => new Idle()],
  ] as [string, typeof Idle][]) {
    expect(() => addDaemon(name, daemon)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  }
  expect([...registered().keys()]).toEqual(['idle']);
});

test('a class whose constructor fails says so when it is loaded', async () => {
  class Bad extends Idle {
    constructor() {
      super();
      throw new Error('no luck');
    }
  }
  addDaemon('bad', Bad);
  await expect(load('bad')).rejects.toMatchObject({
    code: 'UNKNOWN_DAEMON',
    message: 'daemon bad: its constructor failed: "no luck"',
  });
});
