/** Where a log goes to the journal of systemd, its lines are as that wants them. */
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { loadConfig, type ConfigInput } from '../../src/config.ts';
import { openLog } from '../../src/log/open.ts';

let folder = '';
let fd = 0;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-journal-')));
  fd = openSync(join(folder, 'journal'), 'a');
  const { dev, ino } = fstatSync(fd);
  vi.stubEnv('JOURNAL_STREAM', `${dev}:${ino}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

async function logged(descriptor: number | undefined, flags: ConfigInput['flags'] = {}): Promise<string> {
  const config = await loadConfig({ cwd: folder, env: {}, flags: { level: 'DEBUG', ...flags } });
  const stream = {
    write: (text: string) => writeSync(fd, text),
    ...(descriptor === undefined ? {} : { fd: descriptor }),
  };
  const { sink, close } = openLog(config, { stdout: stream, stderr: stream });
  for (const level of ['DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] as const)
    sink(level, 'one\n<0>two \u001b[31m', { daemon: 'reports' });
  close();
  return readFileSync(join(folder, 'journal'), 'utf8');
}

test('each is one line, with how grave it is and without a time, whatever it holds', async () => {
  const line = 'one\\u000a<0>two \\u001b[31m  daemon=reports\n';
  expect(await logged(fd)).toBe([7, 6, 4, 3, 2].map((priority) => `<${priority}>${line}`).join(''));
});

test('it is JSON where it goes elsewhere, as into a pipe from which somebody reads', async () => {
  expect(await logged(undefined)).toMatch(/^\{"time":/);
  vi.stubEnv('JOURNAL_STREAM', 'nonsense');
  expect(await logged(fd)).not.toContain('<6>');
});

test('a format that the configuration names is used there too', async () => {
  expect(await logged(fd, { format: 'json' })).toMatch(/^\{"time":/);
});
