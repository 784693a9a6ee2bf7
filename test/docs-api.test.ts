/**
 * docs/api.md is written by hand, and held against the sources here: every export, every method of a manager, every
 * member of what goes in and out is there, and nothing that does not exist. Its programs, and those of the README, run.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { QueueManager } from '../src/queue-manager.ts';
import { Kitchen } from './docs/kitchen.ts';
import { codeSpansOf, sectionsOf, type Block } from './docs/markdown.ts';
import { chaptersOf, rowsOf } from './docs/tables.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Most that a program of a document may take, in ms. */
const MOST = 30_000;

const api = read('docs/api.md');
const chapters = chaptersOf(api);
const exported = [...exportsOf('src/index.ts'), ...exportsOf('src/testing/index.ts')];
const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => read(`src/${name}`).replaceAll(/\/\*\*[\s\S]*?\*\/|\/\/.*/g, ''))
  .join('\n');

describe('docs/api.md', () => {
  test('tells of every export, and of none that there is not', () => {
    const named = codeSpansOf(api).map((span) => /^[A-Za-z]\w*/.exec(span)?.[0] ?? '');
    expect(exported.filter((name) => !named.includes(name))).toEqual([]);
    const types = named.filter((name) => /^[A-Z]\w*[a-z]/.test(name) && !(name in globalThis));
    expect(types.filter((name) => !exported.includes(name))).toEqual([]);
  });

  test('has a heading for every method and function, and for none that there is not', () => {
    const methods = Object.getOwnPropertyNames(QueueManager.prototype).filter(
      (name) => name !== 'constructor',
    );
    const functions = exported.filter((name) => /^[a-z]/.test(name));
    const described = chapters.flatMap(({ title }) =>
      [...title.matchAll(/`([\w.]+)\(/g)].map(([, name = '']) => name),
    );
    expect(described.toSorted()).toEqual(['QueueManager.open', ...methods, ...functions].toSorted());
  });

  /** Chapters named as a type, with a table of what it holds. */
  const types = chapters.filter(({ title, text }) => /^`[A-Z]\w*`$/.test(title) && rowsOf(text).length > 0);

  test('describes what goes in and out', () => {
    const names = types.map(({ title }) => title.slice(1, -1));
    const data = exported.filter((name) => isData(name));
    expect(data.length).toBeGreaterThan(10);
    expect(data.filter((name) => !names.includes(name))).toEqual([]);
  });

  test.for(types)('tells of every member of $title, and of none that there is not', ({ title, text }) => {
    const told = rowsOf(text).flatMap(([names = '']) => codeSpansOf(names));
    expect(told.toSorted()).toEqual(membersOf(title.slice(1, -1)).toSorted());
  });

  test('tells of every value of the small types, and of none that there is not', () => {
    const small = chapters.find(({ title }) => title === 'Small ones');
    const told = rowsOf(small?.text ?? '').map(([name = '', values = '']) => [
      codeSpansOf(name)[0],
      codeSpansOf(values).toSorted(),
    ]);
    const there = told.map(([name]) => [name, membersOf(String(name)).toSorted()]);
    expect(told.length).toBeGreaterThan(0);
    expect(told).toEqual(there);
  });
});

describe.for(['docs/api.md', 'README.md'])('the programs of %s', (name) => {
  const blocks = sectionsOf(read(name)).flatMap((section) => section.blocks);

  test('compile, where they are TypeScript', async () => {
    const programs = blocks.filter(({ language }) => language === 'ts');
    expect(programs.length).toBeGreaterThan(0);
    await cook(async (kitchen) => {
      // Each has a name of its own: a module with `await` at its top.
      const names = programs.map(({ line }) => `line-${line}.mts`);
      for (const [index, { text }] of programs.entries()) kitchen.write(names[index]!, text);
      await kitchen.compile(names);
    });
  });

  test('run', async () => {
    const programs = blocks.filter(isProgram);
    expect(programs.length).toBeGreaterThan(0);
    await cook(async (kitchen) => {
      for (const { line, text } of programs) {
        kitchen.write(`line-${line}.mjs`, text);
        await kitchen.run(`node line-${line}.mjs`, {}, MOST);
      }
    });
  });
});

test('the first screen of the README does what it says', async () => {
  const [first] = sectionsOf(read('README.md'));
  const files = first?.blocks.filter(({ info }) => info !== '') ?? [];
  await cook(async (kitchen) => {
    for (const { info, text } of files) kitchen.write(info, text);
    const script = 'node producer.mjs\nqueue-worker mails --drain';
    const printed = await kitchen.run(script, {}, MOST);
    expect(printed).toContain('sending to ada@example.org: Hello');
    expect(printed).toContain('mails: drained; 1 message completed');
  });
});

test('the daemons of the README do what it says', async () => {
  const [first, ...others] = sectionsOf(read('README.md'));
  const section = others.find(({ title }) => title === 'Daemons');
  const scripts = section?.blocks.filter(({ language }) => language === '') ?? [];
  await cook(async (kitchen) => {
    for (const { info, text } of [...(first?.blocks ?? []), ...(section?.blocks ?? [])])
      if (info !== '') kitchen.write(info, text);
    kitchen.write('workers/invoices.mjs', kitchen.read('workers/mails.mjs'));
    const lines = scripts.map(({ text }) => text.replaceAll('npx ', '')).join('\n');
    const printed = await kitchen.run(`${lines}\nqueue-daemon stop cleanup`, {}, MOST);
    expect(printed).toMatch(
      /queue: started[^]*queue: running[^]*starting +daemon=queue[^]*queue: stopped[^]*cleanup: started[^]*cleanup: stopped/,
    );
  });
});

async function cook(use: (kitchen: Kitchen) => Promise<void>): Promise<void> {
  const kitchen = new Kitchen();
  try {
    await use(kitchen);
  } finally {
    await kitchen.close();
  }
}

/** What can be run as it stands. */
function isProgram({ language, text }: Block): boolean {
  return language === 'js' && text.includes('QueueManager.open');
}

function read(name: string): string {
  return readFileSync(join(ROOT, name), 'utf8');
}

/** Names of values and types. */
function exportsOf(path: string): string[] {
  const lists = [...read(path).matchAll(/^export (?:type )?\{([^}]+)\}/gm)];
  return lists.flatMap(([, list = '']) => list.match(/\w+/g) ?? []);
}

/** Whether it is plain data, or options: an interface without methods, which is not one that others implement. */
function isData(name: string): boolean {
  const FOR_WORKERS = ['WorkerContext', 'StartContext', 'Log'];
  const FOR_DAEMONS = ['DaemonContext', 'DaemonStop'];
  const FOR_TESTS = exportsOf('src/testing/index.ts');
  const NOT_DATA = [
    'Backend',
    'StandardSchema',
    'SupervisorControl',
    ...FOR_WORKERS,
    ...FOR_DAEMONS,
    ...FOR_TESTS,
  ];
  return new RegExp(`^export interface ${name}\\b`, 'm').test(sources) && !NOT_DATA.includes(name);
}

/** Of an interface, or of a type that is written as one, its properties; of a union of texts these. */
function membersOf(name: string): string[] {
  const lines = sources.split('\n');
  const first = lines.findIndex((line) => new RegExp(`^export (interface|type) ${name}\\b`).test(line));
  if (first < 0) throw new Error(`there is no type ${name}`);
  const isObject = lines[first]!.endsWith('{');
  const length = lines
    .slice(first)
    .findIndex((line) => (isObject ? line.startsWith('}') : line.endsWith(';')));
  const body = lines.slice(first + (isObject ? 1 : 0), first + length + 1).join('\n');
  const members = isObject ? /^ {2}(?:readonly )?(\w+)\??:/gm : /'([^']+)'/g;
  return [...body.matchAll(members)].map(([, member = '']) => member);
}
