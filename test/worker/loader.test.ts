import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadWorker, type LoadedWorker } from '../../src/worker/loader.ts';
import * as library from '../../src/worker/worker.ts';

let folder = '';

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-loader-')));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function load(type: string): Promise<LoadedWorker> {
  return loadWorker(type, { workersDir: folder, library });
}

function refusal(type: string): Promise<{ code: string; message: string; path?: string; cause?: unknown }> {
  return load(type).then(
    () => expect.fail('loaded'),
    (error: { code: string; message: string }) => error,
  );
}

describe('a worker class is found', () => {
  const typed = `
    import { Worker, type WorkerContext } from 'coda-queue';
    import { place } from './place.ts';
    export default class Plates extends Worker<{ plate: string }> {
      private readonly place: string = place;
      override async process(message: { data: { plate: string } }, context: WorkerContext): Promise<void> {}
    }`;

  test('in TypeScript, with imports of its own, and where no package is installed', async () => {
    writeFileSync(join(folder, 'place.ts'), "export const place: string = 'gate';\n");
    const path = file('plates.ts', typed);
    const loaded = await load('plates');
    expect(loaded.path).toBe(path);
    expect(loaded.worker).toBeInstanceOf(library.Worker);
    expect(loaded.worker).toMatchObject({ place: 'gate' });
  });

  test('in JavaScript, as a module, and as CommonJS', async () => {
    const body = "import { Worker } from 'coda-queue'; export default class extends Worker { process() {} }";
    const modules = [
      file('a.mjs', body),
      file('b.js', 'export default class { process() {} }'),
      file('c.js', 'module.exports = class { process() {} }'),
      file(
        'd.js',
        "Object.defineProperty(exports, '__esModule', { value: true }); exports.default = class { process() {} }",
      ),
    ];
    const loaded = await Promise.all(['a', 'b', 'c', 'd'].map(load));
    expect(loaded.map(({ path }) => path)).toEqual(modules);
    expect(loaded[0]?.worker).toBeInstanceOf(library.Worker);
  });

  test('with process as a field', async () => {
    file('field.mjs', 'export default class { process = async () => {} }');
    expect(typeof (await load('field')).worker.process).toBe('function');
  });

  test('as TypeScript before JavaScript', async () => {
    file('both.js', 'export default class { process() {} }');
    const path = file('both.ts', 'export default class { process(): void {} }');
    expect((await load('both')).path).toBe(path);
  });

  test('among those that ship, when the own folder has none of that type, or does not exist', async () => {
    expect((await load('anpr')).path).toMatch(/workers.anpr\.ts$/);
    const nowhere = join(folder, 'absent');
    const { path } = await loadWorker('anpr', { workersDir: nowhere, library });
    expect(path).toMatch(/workers.anpr\.ts$/);
    const own = file('anpr.mjs', 'export default class { process() {} }');
    expect((await load('anpr')).path).toBe(own);
  });
});

describe('a type is refused', () => {
  test.each(['../anpr', '/etc/passwd', 'a/b', '', '.hidden', 'a\0b', 'x'.repeat(65), 'naïve'])(
    '%j',
    async (type) => {
      const error = await refusal(type);
      expect(error.code).toBe('UNKNOWN_WORKER_TYPE');
      expect(error.message).toContain('expected a worker type');
    },
  );

  test('that no file is named after, with the near one, those found and the places', async () => {
    file('plates.ts', '');
    file('plates.d.ts', '');
    file('notes.txt', '');
    mkdirSync(join(folder, 'sub'));
    const { code, message } = await refusal('palte');
    expect(code).toBe('UNKNOWN_WORKER_TYPE');
    expect(message).not.toContain('notes');
    expect(message).toContain(folder);
    expect(message).toMatch(/found "anpr", .*"plates"/);
    expect((await refusal('platse')).message).toContain('did you mean plates?');
    expect((await refusal('plates.d')).message).toContain('no worker of type');
  });

  test.each([
    ['syntax.ts', 'export default class {', 'cannot be loaded'],
    ['throws.mjs', "throw new Error('\u001b[31mno database')", 'no database'],
    [
      'missing.mjs',
      "import 'no-such-package-for-sure'; export default class { process() {} }",
      'no-such-package',
    ],
    ['nothing.mjs', 'export const x = 1;', 'received nothing'],
    ['fn.mjs', 'export default () => {};', 'received a function'],
    ['object.ts', 'export default { process() {} };', 'received a object'],
    ['idle.mjs', 'export default class { run() {} };', 'no such method'],
    [
      'fussy.mjs',
      "export default class { constructor() { throw new Error('no key') } process() {} };",
      'no key',
    ],
  ])('when its file is %s', async (name, text, said) => {
    const path = file(name, text);
    const error = await refusal(name.replace(/\.\w+$/, ''));
    expect(error).toMatchObject({ code: 'UNKNOWN_WORKER_TYPE', path });
    expect(error.message).toContain(said);
    expect(error.message).toContain(name);
    expect(error.message).not.toContain('\u001b');
  });
});
