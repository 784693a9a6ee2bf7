/** docs/cli.md is written by hand, and held against what the commands say themselves: each verb, and each of its options. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { COMPLETE } from '../bin/complete.ts';
import { EXIT } from '../bin/exit-codes.ts';
import { codeSpansOf } from './docs/markdown.ts';
import { chaptersOf, rowsOf } from './docs/tables.ts';

const document = readFileSync(fileURLToPath(new URL('../docs/cli.md', import.meta.url)), 'utf8');
const chapters = chaptersOf(document);
/** These stand in a chapter of their own. */
const COMMON = ['--config', '--cache-root', '--durability', '--version', '--help'];

/** With what their verbs share beside that. */
const PROGRAMS = { queue: [], 'queue-daemon': ['--daemons'] } as const;
type Program = keyof typeof PROGRAMS;

const verbs = (await Promise.all((Object.keys(PROGRAMS) as Program[]).map(verbsOf))).flat();

test('every verb has a heading with its arguments, and none that there is not', async () => {
  const headings = chapters.flatMap(({ title }) =>
    [...title.matchAll(/`(queue(?:-daemon)? [^`]+)`/g)].map(([, heading = '']) => heading),
  );
  const usages = await Promise.all(verbs.map(usageOf));
  expect(headings.toSorted()).toEqual(usages.toSorted());
});

const commands = [...verbs, 'queue-worker'];

test.for(commands)('%s has all its options there, and none that there is not', async (command) => {
  const [program = '', ...verb] = command.split(' ');
  const there = (await words(program, ...verb, '--')).filter((word) => word.startsWith('--'));
  const chapter = chapters.find(({ title }) => new RegExp(`\`${command}[ \`]`).test(title));
  const told = rowsOf(chapter?.text ?? '').flatMap(([option = '']) => codeSpansOf(option));
  const names = told.map((option) => option.split(' ')[0] ?? '');
  const shared: readonly string[] = [...COMMON, ...(PROGRAMS[program as Program] ?? [])];
  expect(names.toSorted()).toEqual(there.filter((option) => !shared.includes(option)).toSorted());
});

test('what all verbs of queue-daemon share is told', () => {
  const chapter = chapters.find(({ title }) => title === '`queue-daemon`');
  for (const option of PROGRAMS['queue-daemon']) expect(chapter?.text).toContain(`\`${option} `);
});

test('the common options and all exit codes are told', () => {
  const [common] = chapters.filter(({ title }) => title === 'What all verbs have in common');
  const spans = codeSpansOf(common?.text ?? '').map((span) => span.split(' ')[0]);
  for (const option of COMMON) expect(spans).toContain(option);
  const codes = rowsOf(chapters.find(({ title }) => title === 'Exit codes')?.text ?? '').map(
    ([code]) => code,
  );
  expect(codes).toEqual(Object.values(EXIT).map(String));
});

/** `queue add` */
async function verbsOf(program: Program): Promise<string[]> {
  const offered = await words(program, '');
  return offered.filter((word) => /^[a-z]/.test(word) && word !== 'help').map((verb) => `${program} ${verb}`);
}

/** `queue add <queue> [data]` */
async function usageOf(command: string): Promise<string> {
  const [program = '', verb = ''] = command.split(' ');
  const [usage = ''] = (await output(program, verb, '--help')).split('\n');
  return usage.replace('Usage: ', '').replace(' [options]', '');
}

/** What may stand behind these words on a command line. */
async function words(program: string, ...typed: string[]): Promise<string[]> {
  const lines = (await output(program, COMPLETE, '--', ...typed)).split('\n');
  return lines.map((line) => line.split('\t')[0] ?? '').filter((word) => word !== '');
}

async function output(program: string, ...args: string[]): Promise<string> {
  const path = fileURLToPath(new URL(`../dist/bin/${program}.js`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [path, ...args], { timeout: 20_000 });
  return stdout;
}
