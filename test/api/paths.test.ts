/** Where things lie is told to nobody who asks over the API. */
import { afterEach, expect, test } from 'vitest';
import { withoutPaths } from '../../src/api/refusal.ts';
import { Desk } from './desk.ts';

let desk: Desk | undefined;
afterEach(() => desk?.close());

test.for([
  ['cannot read /srv/secret dir/passwd now', 'cannot read …/passwd now'],
  ['"/srv/a b/c d.txt" is bad', '"…/c d.txt" is bad'],
  [`"/srv/Müller, Co: a/it's/x" is bad`, '"…/x" is bad'],
  ["rename '/a/b' -> '/c/d'", "rename '…/b' -> '…/d'"],
  ['/srv/a (copy)/x, /srv/b/y', '…/x, …/y'],
  ['file:///srv/a/b.ts:1:2', '…/b.ts:1:2'],
  ['at foo (/srv/a/b.js:1:2), cwd:/srv/x/y', 'at foo (…/b.js:1:2), cwd:…/y'],
  ['/etc/passwd and /etc/shadow', '…/passwd and …/shadow'],
  ['C:\\Users\\Ann Lee\\x.ts:3:4', '…/x.ts:3:4'],
  ['"C:\\\\Users\\\\Ann\\\\x"', '"…/x"'],
  ['\\\\server\\share\\x', '…/x'],
  ['the folder /srv/a b/', 'the folder …/'],
] as const)('of the paths in %j the last names are left', ([text, shown]) => {
  expect(withoutPaths(text)).toBe(shown);
  expect(withoutPaths(shown)).toBe(shown);
});

test.for([
  'see http://host/x/y',
  "it's 1/2 of 3/4",
  './a/b and ../c/d',
  '"/mails" and /mails',
  'queue a/b c/d',
])('%j holds none', (text) => {
  expect(withoutPaths(text)).toBe(text);
});

test('no text takes long', () => {
  const parts = ['/a ', '"/', '/', '/a b c ', `'/"/\`/`, ' /\\', '\\', ' \\\\', '/a/ ', 'file://', 'a '];
  const texts = [
    ...parts.map((part) => part.repeat(100_000)),
    `/a${' '.repeat(300_000)}`,
    `/a/${'b '.repeat(1e5)}`,
  ];
  for (const text of texts) {
    const begun = performance.now();
    withoutPaths(text);
    expect(performance.now() - begun, text.slice(0, 20)).toBeLessThan(2000);
  }
});

test('what events say of an end, and messages of their tries, holds none; what children tell is theirs', async () => {
  desk = await new Desk().open();
  const { supervisor, queues } = desk;
  await queues.createQueue('mails');
  const { uuid } = await queues.addMessage('mails', { data: '/srv/app/data.json', retries: 0 });
  const [claim] = await queues.claimMessages('mails');
  await queues.failMessage('mails', claim!, new Error("ENOENT: open '/srv/secret dir/key'"));
  const first = { message: "ENOENT: open '…/key'" };
  for (const path of [`/api/queues/mails/messages/${uuid}`, '/api/queues/mails/messages']) {
    const { json, text } = await desk.get(path);
    expect((json.messages?.[0] ?? json).errors).toMatchObject([first]);
    expect((json.messages?.[0] ?? json).data).toBe('/srv/app/data.json');
    expect(text).not.toMatch(/secret|stack/);
  }

  supervisor.tell(
    { why: 'ended: "/srv/secret/x" is bad', failed: true, more: ['/srv/secret/y'] },
    'cam',
    'ended',
  );
  supervisor.tell({ event: 'seen', data: '/srv/pictures/1.png' });
  const socket = desk.connect();
  const heard = await new Promise<string>((resolve) => {
    let text = '';
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      if (text.includes('event: told') && text.endsWith('\n\n\r\n')) resolve(text);
    });
    socket.write('GET /api/events?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n');
  });
  socket.destroy();
  expect(heard).toContain('"data":{"why":"ended: \\"…/x\\" is bad","failed":true,"more":["…/y"]}');
  expect(heard).toContain('/srv/pictures/1.png');
  expect(heard).not.toContain('secret');
});
