/** The channel between a supervisor and a child, over real sockets: whole messages or none, and bounded memory. */
import { connect, createServer, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel, LARGEST_MESSAGE } from '../../src/supervisor/channel.ts';
import { until } from '../processes/stage.ts';

let folder: string;
let incoming: Socket;
let outgoing: Socket;
/** The other ends. */
let teller: Socket;
let listener: Socket;
let channel: Channel;
let heard: unknown[];
let ends: (string | undefined)[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'coda-channel-'));
  [incoming, teller] = await pipe('incoming');
  [outgoing, listener] = await pipe('outgoing');
  heard = [];
  ends = [];
  channel = new Channel(
    { incoming, outgoing },
    {
      onMessage: (message) => heard.push(message),
      onEnd: (why) => ends.push(why),
    },
  );
});
afterEach(() => {
  for (const socket of [incoming, outgoing, teller, listener]) socket.destroy();
  rmSync(folder, { recursive: true });
});

async function pipe(name: string): Promise<[near: Socket, far: Socket]> {
  const path = join(folder, name);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const far = connect(path).on('error', () => undefined);
  const near = await accepted;
  server.close();
  return [near, far];
}

describe('what comes', () => {
  test('may be split anywhere, also inside a character', async () => {
    const messages = [{ a: 'é€𝄞' }, null, [1], 'x\ny', { __proto__: null, b: 2 }];
    const bytes = Buffer.from(messages.map((message) => `${JSON.stringify(message)}\n`).join(''));
    for (let at = 1; at < bytes.length; at++) {
      heard.length = 0;
      incoming.emit('data', bytes.subarray(0, at));
      incoming.emit('data', bytes.subarray(at));
      expect(heard).toEqual(messages);
    }
    for (const byte of bytes) incoming.emit('data', Buffer.from([byte]));
    expect(heard).toHaveLength(messages.length * 2);
    expect(ends).toEqual([]);
  });

  test.for([
    ['{"a":\n', 'is cut'],
    ['\n', 'is empty'],
    ['hello \u001b[2J\n', 'is no JSON'],
  ])('ends the channel when it %s', async ([text]) => {
    incoming.emit('data', Buffer.from(`1\n${text}2\n`));
    expect(heard).toEqual([1]);
    expect(ends).toHaveLength(1);
    expect(ends[0]).toMatch(/^"[ -~]*" instead of a message$/);
    expect(channel.isOpen).toBe(false);
    expect([incoming.destroyed, outgoing.destroyed]).toEqual([true, true]);
  });

  test('ends the channel when a line has no end, and takes no more of it than a message may have', async () => {
    const piece = Buffer.alloc(64 * 1024, 'x');
    let taken = 0;
    while (channel.isOpen) {
      incoming.emit('data', piece);
      taken += piece.length;
    }
    expect(taken).toBeLessThan(LARGEST_MESSAGE + 3 * piece.length);
    expect(ends).toEqual([`a message of more than ${LARGEST_MESSAGE} bytes`]);
  });

  test('is over when the other end is gone, whether it ends or breaks', async () => {
    teller.end();
    await until(() => ends.length > 0);
    expect(ends).toEqual([undefined]);
    channel.close();
    incoming.emit('error', new Error('EPIPE'));
    expect(ends).toEqual([undefined]);
    expect(() => channel.send({})).toThrow(expect.objectContaining({ code: 'CHILD_GONE' }));
  });

  test('is heard to its end when the other end does not listen any more', async () => {
    listener.destroy();
    await until(() => {
      if (channel.isOpen) channel.send({});
      return !channel.isOpen;
    });
    expect(() => channel.send({})).toThrow(expect.objectContaining({ code: 'CHILD_GONE' }));
    expect(ends).toEqual([]);
    teller.end('"last"\n"words"\n');
    await until(() => ends.length > 0);
    expect(heard).toEqual(['last', 'words']);
    expect(ends).toEqual([undefined]);
  });
});

describe('what is sent', () => {
  test('arrives, up to 1 MiB', async () => {
    let received = '';
    listener.setEncoding('utf8').on('data', (text: string) => (received += text));
    const most = { text: 'x'.repeat(LARGEST_MESSAGE) };
    channel.send(most);
    expect(() => channel.send({ text: 'x'.repeat(LARGEST_MESSAGE + 16 * 1024) })).toThrow(
      expect.objectContaining({ code: 'MESSAGE_TOO_LARGE' }),
    );
    channel.send({ last: true });
    await until(() => received.endsWith('{"last":true}\n'));
    expect(received).toBe(`${JSON.stringify(most)}\n{"last":true}\n`);
  });

  test('is refused when the other end does not read, and taken again when it does', async () => {
    listener.pause();
    const large = { text: 'x'.repeat(LARGEST_MESSAGE) };
    let sent = 0;
    const send = (): void => {
      for (; sent < 100; sent++) {
        channel.send(large);
      }
    };
    for (let turns = 0; turns < 10; turns++) await turn();
    expect(send).toThrow(expect.objectContaining({ code: 'CHILD_BUSY' }));
    expect(sent).toBeLessThan(8);
    expect(outgoing.writableLength).toBeLessThan(6 * LARGEST_MESSAGE);
    listener.resume();
    await until(() => !channel.isFull);
    channel.send(large);
  });
});
