import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig, type Config } from '../../src/config.ts';
import { SavedChanges } from '../../src/supervisor/saved.ts';
import type { ProcessSpec } from '../../src/supervisor/shape.ts';
import { checkProcess, configuredProcesses, type ProcessInput } from '../../src/supervisor/spec.ts';
import { CONTROLS } from '../support/controls.ts';

let folder: string;
let path: string;
let config: Config;
let troubles: string[];

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-p2-saved-')));
  path = join(folder, 'var', 'supervisor.saved.json');
  mkdirSync(join(folder, 'var'));
  config = await loadConfig({ cwd: folder, env: {} });
  troubles = [];
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** As a supervisor that begins. */
function begun(): SavedChanges {
  return new SavedChanges({ path, config, onTrouble: (why) => troubles.push(why) });
}

async function configured(text: string): Promise<ProcessSpec[]> {
  writeFileSync(join(folder, 'config.ini'), text);
  return configuredProcesses(await loadConfig({ cwd: folder, env: {} }));
}

function spec(input: ProcessInput): ProcessSpec {
  return checkProcess(input, { config, folder });
}

/** `name kind:target xinstances origin`, of each. */
function inWords(changes: SavedChanges, specs: readonly ProcessSpec[]): string[] {
  return changes
    .over(specs)
    .map(
      ({ spec: { name, kind, target, instances, autostart }, origin }) =>
        `${name} ${kind}:${target} x${instances} ${origin}${autostart ? '' : ' stopped'}`,
    );
}

const TWO = '[process:a]\nworker = w\ninstances = 2\n[process:b]\nexec = x\n';
const UNCHANGED = ['a worker:w x2 configured', 'b exec:x x1 configured'];

test('without anything saved the configuration holds, and nothing is written', async () => {
  expect(inWords(begun(), await configured(TWO))).toEqual(UNCHANGED);
  expect(readdirSync(join(folder, 'var'))).toEqual([]);
});

test('what was added, removed, scaled and stopped is so again at the next start', async () => {
  const specs = await configured(TWO);
  const changes = begun();
  changes.over(specs);
  const [a, b] = specs as [ProcessSpec, ProcessSpec];
  changes.added(spec({ name: 'c', exec: ['y', 'a b'], instances: 3 }));
  changes.changed(a, { instances: 5 });
  changes.changed({ ...a, instances: 5 }, { autostart: false });
  changes.removed(b.name);
  expect(inWords(begun(), specs)).toEqual(['a worker:w x5 configured stopped', 'c exec:y x3 saved']);
  expect(troubles).toEqual([]);
});

test('a change of what was added is part of it, and its removal leaves nothing', async () => {
  const changes = begun();
  changes.over([]);
  const c = spec({ name: 'c', exec: 'y' });
  changes.added(c);
  changes.changed(c, { instances: 4 });
  expect(inWords(begun(), [])).toEqual(['c exec:y x4 saved']);
  changes.removed('c');
  expect(inWords(begun(), [])).toEqual([]);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ version: 1, changes: {} });
});

describe('the newer word counts:', () => {
  test('a section that is edited overtakes what was saved of it, for good', async () => {
    const specs = await configured(TWO);
    const changes = begun();
    changes.over(specs);
    changes.removed('a');
    changes.changed(specs[1]!, { instances: 7 });
    const edited = await configured(TWO.replace('instances = 2', 'instances = 3'));
    expect(inWords(begun(), edited)).toEqual(['a worker:w x3 configured', 'b exec:x x7 configured']);
    expect(troubles).toEqual([
      'process "a": that it was removed is dropped, for the configuration says something else by now',
    ]);
    // Also when it is edited back.
    expect(inWords(begun(), specs)).toEqual(['a worker:w x2 configured', 'b exec:x x7 configured']);
  });

  test('a section that comes to bear the name of what was added', async () => {
    const changes = begun();
    changes.over([]);
    changes.added(spec({ name: 'b', exec: 'mine' }));
    expect(inWords(begun(), await configured(TWO))).toEqual(UNCHANGED);
    expect(troubles).toHaveLength(1);
  });

  test('one that goes takes with it what was saved of it', async () => {
    const specs = await configured(TWO);
    const changes = begun();
    changes.over(specs);
    changes.changed(specs[0]!, { instances: 9 });
    changes.removed('b');
    expect(inWords(begun(), [])).toEqual([]);
    // That it is gone is no surprise to who has removed it.
    expect(troubles).toEqual([expect.stringContaining('"a": that it was changed is dropped')]);
  });

  test('deadlines and recovery may be edited without that', async () => {
    const changes = begun();
    changes.over(await configured(TWO));
    changes.removed('a');
    const edited = await configured(`[worker]\nstopDeadline = 3s\n[supervisor]\nrestartLimit = 3\n${TWO}`);
    expect(inWords(begun(), edited)).toEqual(['b exec:x x1 configured']);
    expect(troubles).toEqual([]);
  });

  test('another process in the place of a configured one that was removed', async () => {
    const specs = await configured(TWO);
    const changes = begun();
    changes.over(specs);
    changes.removed('a');
    const other = spec({ name: 'a', exec: 'z' });
    changes.added(other);
    changes.changed(other, { instances: 2 });
    expect(inWords(begun(), specs)).toEqual(['b exec:x x1 configured', 'a exec:z x2 saved']);
    changes.removed('a');
    expect(inWords(begun(), specs)).toEqual(['b exec:x x1 configured']);
  });
});

describe('a file that is no such file keeps nobody from starting, is told of, and is put aside:', () => {
  test.for([
    ['nothing in it', ''],
    ['half of it', '{"version":1,"changes":{"a":{"of":"'],
    ['no object', '[1,2]'],
    ['changes that are none', '{"version":1,"changes":[]}'],
    ['a newer version', '{"version":2,"changes":{}}'],
    ['control characters', '\u001b[31m\u0000'],
    ['more than any', ' '.repeat(5 * 1024 * 1024)],
  ] as const)('%s', async ([, text]) => {
    writeFileSync(path, text);
    const changes = begun();
    expect(inWords(changes, await configured(TWO))).toEqual(UNCHANGED);
    expect(troubles).toHaveLength(1);
    expect(troubles[0]).not.toMatch(CONTROLS);
    expect(readFileSync(`${path}.damaged`, 'utf8')).toBe(text);
    // And what is saved from now on holds.
    changes.removed('a');
    expect(inWords(begun(), await configured(TWO))).toEqual(['b exec:x x1 configured']);
  });

  test('a folder, a link', async () => {
    mkdirSync(path);
    expect(inWords(begun(), await configured(TWO))).toEqual(UNCHANGED);
    writeFileSync(join(folder, 'elsewhere'), '{"version":1,"changes":{}}');
    symlinkSync(join(folder, 'elsewhere'), path);
    expect(inWords(begun(), await configured(TWO))).toEqual(UNCHANGED);
    expect(troubles.filter((why) => why.includes('what was saved does not hold'))).toHaveLength(2);
    expect(readFileSync(join(folder, 'elsewhere'), 'utf8')).toContain('version');
  });
});

test('an entry that makes no sense is passed over, the others hold', async () => {
  const specs = await configured(TWO);
  const changes = begun();
  changes.over(specs);
  changes.changed(specs[0]!, { instances: 4 });
  changes.added(spec({ name: 'good', exec: 'y' }));
  const sound = JSON.parse(readFileSync(path, 'utf8')) as { changes: Record<string, unknown> };
  const { of } = sound.changes['a'] as { of: string };
  const hostile: Record<string, unknown> = {
    b: { of: 7, kept: 'removed' },
    'x\u001b[31m': { of: '', kept: 'added', process: { name: 'y', exec: 'z' } },
    c: { of: '', kept: 'added', process: { name: 'c', exec: 'z', instances: 1e9 } },
    d: { of: '', kept: 'dropped' },
    e: null,
    f: { of, kept: 'changed', instances: -1 },
  };
  const text = JSON.stringify({ ...sound, changes: { ...hostile, ...sound.changes } });
  writeFileSync(
    path,
    text.replace('"e":null', '"__proto__":{"of":"","kept":"added","process":{"name":"__proto__"}}'),
  );
  expect(inWords(begun(), specs)).toEqual([
    'a worker:w x4 configured',
    'b exec:x x1 configured',
    'good exec:y x1 saved',
  ]);
  expect(troubles).toHaveLength(6);
  for (const why of troubles) expect(why).not.toMatch(CONTROLS);
  expect(existsSync(`${path}.damaged`)).toBe(false);
});

test('a change that cannot be written is refused, and is none', async () => {
  const specs = await configured(TWO);
  const changes = begun();
  changes.over(specs);
  rmSync(join(folder, 'var'), { recursive: true });
  writeFileSync(join(folder, 'var'), 'no folder');
  expect(() => changes.removed('a')).toThrow(expect.objectContaining({ code: 'STORAGE_FAILED' }));
  expect(inWords(changes, specs)).toEqual(UNCHANGED);
});

test('what another has left half written is in nobody’s way', async () => {
  writeFileSync(`${path}.draft`, 'half');
  const changes = begun();
  changes.over([]);
  changes.added(spec({ name: 'c', exec: 'y' }));
  expect(inWords(begun(), [])).toEqual(['c exec:y x1 saved']);
  expect(existsSync(`${path}.draft`)).toBe(false);
});
