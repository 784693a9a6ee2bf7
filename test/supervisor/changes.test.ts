import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { changesBetween, type Changes, type Wanted } from '../../src/supervisor/changes.ts';
import { configuredProcesses } from '../../src/supervisor/spec.ts';

let folder: string;

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-p2-changes-')));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function wanted(text: string): Promise<Wanted> {
  writeFileSync(join(folder, 'config.ini'), text);
  const config = await loadConfig({ cwd: folder, env: {} });
  return { config, specs: configuredProcesses(config) };
}

/** In words, such as `+a -b ~c =d`. */
async function between(before: string, after: string): Promise<string> {
  const { added, removed, restarted, adjusted }: Changes = changesBetween(
    await wanted(before),
    await wanted(after),
  );
  const names = (sign: string, specs: readonly { name: string }[]): string[] =>
    specs.map(({ name }) => sign + name);
  return [
    ...names('+', added),
    ...removed.map((name) => `-${name}`),
    ...names('~', restarted),
    ...names('=', adjusted),
  ].join(' ');
}

const THREE = '[process:a]\nworker = w\n[process:b]\nexec = x\n[process:c]\nclass = c.ts\nparams.k = v\n';

test('what is the same is left alone, in whatever order and words it stands there', async () => {
  const same =
    '; a comment\n[process:c]\nparams.k = "v"\nclass = ./c.ts\n[process:a]\nqueue = w\nworker = w\ninstances = 1\n' +
    '[process:b]\nexec = "x"\nautostart = true\n';
  expect(await between(THREE, THREE)).toBe('');
  expect(await between(THREE, same)).toBe('');
});

test('sections that come, go and change are told apart', async () => {
  const other = '[process:b]\nexec = y\n[process:c]\nclass = c.ts\nparams.k = v\n[process:d]\ndaemon = d\n';
  expect(await between(THREE, other)).toBe('+d -a ~b');
  expect(await between(THREE, THREE.replace('= v', '= w'))).toBe('~c');
  expect(await between(THREE, THREE.replace('worker = w', 'class = w'))).toBe('~a');
});

test('what only the supervisor acts on needs no restart', async () => {
  for (const line of [
    'instances = 3',
    'autostart = false',
    'restartLimit = 2',
    'memoryLimit = 1GiB',
    'onFailure = none',
  ])
    expect(await between(THREE, `${THREE}${line}\n`)).toBe('=c');
  expect(await between(THREE, `[supervisor]\nrestartDelay = 5s\n${THREE}`)).toBe('=a =b =c');
  expect(await between(THREE, THREE.replace('exec = x', 'exec = x\nstopDeadline = 1s'))).toBe('=b');
});

test('children are started anew for the sections that they read, and for no others', async () => {
  const daemon = `${THREE}[process:d]\ndaemon = d\n`;
  expect(await between(daemon, `[queue]\ncacheRoot = elsewhere\n${daemon}`)).toBe('~a ~c ~d');
  expect(await between(daemon, `[log]\nlevel = DEBUG\n${daemon}`)).toBe('~a ~c ~d');
  expect(await between(daemon, `[daemon]\nstallAfter = 1m\n${daemon}`)).toBe('~d');
  expect(await between(daemon, `[worker]\nstopDeadline = 9s\n${daemon}`)).toBe('~a ~c ~d =b');
});
