/** docs/call-server.md tells of every code and every key, and its clients do what they say. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { CODES } from '../../src/call/codes.ts';
import { CallServer } from '../../src/call/server.ts';
import { CALL_KEYS } from '../../src/config-keys.ts';
import { Kitchen } from '../docs/kitchen.ts';
import { sectionsOf } from '../docs/markdown.ts';
import { chaptersOf, rowsOf } from '../docs/tables.ts';
import { houseTest } from './client.ts';

const document = readFileSync(fileURLToPath(new URL('../../docs/call-server.md', import.meta.url)), 'utf8');
const chapters = chaptersOf(document);
const blocks = sectionsOf(document).flatMap((section) => section.blocks);

function rows(title: string): string[][] {
  return rowsOf(chapters.find((chapter) => chapter.title === title)?.text ?? '');
}

test('every code has its row', () => {
  const told = rows('Codes').map(([code = '', word = '']) => [word.replaceAll('`', ''), Number(code)]);
  expect(told).toEqual([['', 0], ...Object.entries(CODES)]);
});

test('every key has its row, with its default', () => {
  const told = rows('Configuration').map(([key = '', fallback = '']) => [key, fallback].map(bare));
  expect(told).toEqual(Object.entries(CALL_KEYS).map(([key, { fallback }]) => [key, fallback]));
});

test('every method that ships has its row', () => {
  const queues = {} as NonNullable<ConstructorParameters<typeof CallServer>[0]>['queues'];
  const { methods } = new CallServer({ queues });
  const told = rows('Methods that ship').map(([name = '']) => bare(name));
  expect([...told, 'notFound'].toSorted()).toEqual(methods);
});

test('the program runs', async () => {
  const kitchen = new Kitchen();
  try {
    kitchen.write('program.mjs', blocks.find(({ language }) => language === 'js')?.text ?? '');
    expect(await kitchen.run('node program.mjs', {}, 30_000)).toMatch(/listening at 127\.0\.0\.1, port \d+/);
  } finally {
    await kitchen.close();
  }
});

houseTest.for<[language: string, command: string]>([
  ['python', 'python3'],
  ['php', 'php'],
])('the client in %s adds a message', async ([language, command], { house, skip }) => {
  const run = promisify(execFile);
  skip(
    !(await run(command, ['--version']).then(
      () => true,
      () => false,
    )),
    `there is no ${command} here`,
  );
  const queues = await house.queues();
  const { port } = await house.server({ queues });
  const kitchen = new Kitchen();
  try {
    const path = join(kitchen.folder, 'client');
    const text = blocks.find((block) => block.language === language)?.text ?? '';
    expect(text).toContain('4401');
    writeFileSync(path, text.replace('4401', String(port)));
    await run(command, [path], { timeout: 30_000 });
    expect(await queues.queueStatus('mails')).toMatchObject({ messagesToProcess: 1 });
  } finally {
    await kitchen.close();
  }
});

function bare(cell: string): string {
  return cell.replaceAll('`', '');
}
