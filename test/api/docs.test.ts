/** The controller in docs/control-api.md does what is said there, and no route or metric is left out. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sectionsOf } from '../docs/markdown.ts';
import { Desk } from './desk.ts';

const document = readFileSync(fileURLToPath(new URL('../../docs/control-api.md', import.meta.url)), 'utf8');

let desk: Desk;
beforeEach(() => {
  desk = new Desk();
});
afterEach(() => desk.close());

test('its controller answers as its comments say', async () => {
  const blocks = sectionsOf(document).flatMap((section) => section.blocks);
  const { info, text } = blocks.find(({ language }) => language === 'js')!;
  mkdirSync(join(desk.folder, 'controllers'));
  writeFileSync(join(desk.folder, info), text);
  await desk.open();
  await desk.queues.createQueue('mails');
  expect((await desk.get('/api/reports')).json).toEqual(['cam']);
  const { json } = await desk.post('/api/reports/send-now?to=a@example.org', { subject: 'x' });
  expect((await desk.get(`/api/queues/mails/messages/${json.uuid}`)).json.data).toEqual({
    to: 'a@example.org',
    subject: 'x',
  });
});

test('it names every route and every metric', async () => {
  await desk.open();
  await desk.queues.createQueue('mails');
  desk.supervisor.setChild('cam#1', { healthy: true });
  const { json } = await desk.get('/api/index');
  for (const { path } of json.routes as { path: string }[]) {
    // Verbs stand behind each other: `…/start`, `…/stop`.
    expect(document.includes(path) || document.includes(`/${path.split('/').at(-1)}\``), path).toBe(true);
  }
  const { text } = await desk.get('/metrics');
  for (const [, name = ''] of text.matchAll(/^# TYPE (\S+)/gm)) expect(document).toContain(`\`${name}\``);
});
