/** What the documents name is there: verbs and options, files and headings, exports, methods, codes and variables. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { COMPLETE } from '../bin/complete.ts';
import { ALL_KEYS, variableOf } from '../src/config-keys.ts';
import { QueueManager } from '../src/queue-manager.ts';
import { Kitchen } from './docs/kitchen.ts';
import { commandsOf } from './docs/command-lines.ts';
import { anchorsOf, codeSpansOf, linksOf, sectionsOf, type Block } from './docs/markdown.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const NAMES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter(isMarkdown)
    .map((name) => `docs/${name}`),
];
const DOCUMENTS = NAMES.map((name) => ({ name, text: read(name), blocks: blocksOf(read(name)) }));

describe.for(DOCUMENTS)('$name', ({ name, text, blocks }) => {
  test('names verbs and options that there are', async () => {
    const scripts = blocks.filter(({ language }) => ['', 'sh', 'crontab'].includes(language));
    const typed = [...scripts.map(({ text }) => text), ...codeSpansOf(text)].flatMap(commandsOf);
    const unknown: string[] = [];
    for (const [program = '', ...words] of typed) {
      const command = program.replace(/^node_modules\/\.bin\//, '');
      if (!/^queue(-worker|-daemon)?$/.test(command)) continue;
      const verbs = command === 'queue-worker' ? [] : await known(command, '');
      const verb = verbs.length > 0 && /^[a-z]/.test(words[0] ?? '') ? words[0]! : '';
      if (verb !== '' && !verbs.includes(verb)) unknown.push(`${command} ${verb}`);
      const own = words.slice(0, words.includes('--') ? words.indexOf('--') : words.length);
      // The one verb that has verbs of its own.
      const below = verb === 'ctl' && /^[a-z]/.test(own[1] ?? '') ? [own[1]!] : [];
      const options = await known(command, ...(verb === '' ? [] : [verb, ...below]), '--');
      for (const word of own) {
        const [, option] = /^\[?(--[a-z][a-z-]*)/.exec(word) ?? [];
        if (option && !options.includes(option)) unknown.push(`${command} ${verb} ${option}`);
      }
    }
    expect(unknown).toEqual([]);
  });

  test('leads to files and headings that there are', () => {
    const dead = linksOf(text).filter((link) => {
      if (/^[a-z]+:/.test(link)) return false;
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? name : posix.join(posix.dirname(name), path);
      if (!existsSync(join(ROOT, target))) return true;
      return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
    });
    expect(dead).toEqual([]);
  });

  test('imports what is exported, and calls methods that there are', () => {
    const programs = blocks.filter(({ language }) => language === 'js' || language === 'ts');
    const missing = programs.flatMap(({ text }) => [...namesMissing(text), ...methodsMissing(text)]);
    expect([...missing, ...codeSpansOf(text).flatMap(methodsMissing)]).toEqual([]);
  });

  test('names codes and variables that there are', () => {
    const variables = [...ALL_KEYS.map(variableOf), 'CODA_CONFIG'];
    const spans = codeSpansOf(text).filter((span) => /^[A-Z]+(_[A-Z]+)+$/.test(span));
    const unknown = spans.filter((span) => !variables.includes(span) && !sources.includes(span));
    expect(unknown).toEqual([]);
  });
});

test.for([
  ['docs/workers.md', 'workers/mails.ts'],
  ['docs/daemons.md', 'daemons/reportsDaemon.ts'],
  ['docs/call-server.md', 'methods/shop.order.ts'],
  ['docs/supervisor.md', 'processes/gate.ts'],
] as const)('the TypeScript of %s compiles, strictly', async ([document, first]) => {
  const kitchen = new Kitchen();
  try {
    const files = blocksOf(read(document)).filter(({ language }) => language === 'ts');
    for (const { info, text } of files) kitchen.write(info, text);
    expect(files.map(({ info }) => info)).toContain(first);
    await kitchen.compile(files.map(({ info }) => info));
  } finally {
    await kitchen.close();
  }
});

test('a word that is wrong is found out', () => {
  expect(
    commandsOf('A=1 npx queue add q \'{"a": 1}\' --alias x | jq . && queue wait q \\\n x # --no'),
  ).toEqual([
    ['queue', 'add', 'q', '{"a": 1}', '--alias', 'x'],
    ['jq', '.'],
    ['queue', 'wait', 'q', 'x'],
  ]);
  expect(namesMissing("import { Worker, type Massage } from 'coda-queue';")).toEqual(['coda-queue: Massage']);
  expect(methodsMissing('await manager.addMesage(q); QueueManager.open()')).toEqual(['manager.addMesage']);
});

function isMarkdown(name: string): boolean {
  return name.endsWith('.md');
}

function read(name: string): string {
  return readFileSync(join(ROOT, name), 'utf8');
}

function blocksOf(text: string): Block[] {
  return sectionsOf(text).flatMap(({ blocks }) => blocks);
}

/** All of it that runs, as one text. */
let sources = '';
beforeAll(() => {
  sources = ['src', 'bin', 'workers']
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) =>
        join(folder, name),
      ),
    )
    .filter((name) => name.endsWith('.ts'))
    .map(read)
    .join('\n');
});

const answers = new Map<string, Promise<string[]>>();

/** Words that may stand behind these on a command line, told by the command itself. */
function known(command: string, ...words: string[]): Promise<string[]> {
  const key = [command, ...words].join(' ');
  const answer =
    answers.get(key) ??
    promisify(execFile)(process.execPath, [join(ROOT, `dist/bin/${command}.js`), COMPLETE, '--', ...words], {
      timeout: 20_000,
    }).then(({ stdout }) => stdout.split('\n').map((line) => line.split('\t')[0] ?? ''));
  answers.set(key, answer);
  return answer;
}

const INDEX = { 'coda-queue': 'src/index.ts', 'coda-queue/testing': 'src/testing/index.ts' } as const;

function namesMissing(program: string): string[] {
  const imports = [...program.matchAll(/import (?:type )?\{([^}]+)\} from '(coda-queue(?:\/testing)?)'/g)];
  return imports.flatMap(([, list = '', from]) => {
    const exported: string[] = read(INDEX[from as keyof typeof INDEX]).match(/\w+/g) ?? [];
    const names = list.split(',').map((name) =>
      name
        .trim()
        .replace(/^type /, '')
        .replace(/ as .*/, ''),
    );
    return names.filter((name) => name !== '' && !exported.includes(name)).map((name) => `${from}: ${name}`);
  });
}

function methodsMissing(text: string): string[] {
  return [...text.matchAll(/\b(manager|queues|QueueManager)\.([a-zA-Z]+)(?=[(`]|$)/g)]
    .filter(([, of, name = '']) => !(name in (of === 'QueueManager' ? QueueManager : QueueManager.prototype)))
    .map(([all]) => all);
}
