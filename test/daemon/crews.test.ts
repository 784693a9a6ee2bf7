/** What crews do before they have any process; test/processes/daemon-queue.test.ts has the rest. */
import { expect, test } from 'vitest';
import { Crews } from '../../src/daemon/crews.ts';
import { QueueError } from '../../src/errors.ts';
import { parseQueueList } from '../../src/queue-list.ts';
import type { LogFields } from '../../src/worker/log.ts';
import { config, gate, settle } from './running.ts';

function crewsOf(list: string, createQueue: (queue: string) => Promise<boolean>) {
  const lines: { text: string; fields: LogFields }[] = [];
  const never = (): never => expect.fail();
  const crews = new Crews({
    config: { ...config, daemon: { ...config.daemon, queues: parseQueueList(list) ?? [] } },
    queues: { createQueue, failMessage: never, releaseMessage: never, reportDeath: never },
    // Nothing that could be started.
    command: () => ({ file: '/nowhere/to/be/found', args: [], env: {} }),
    sink: (_, text, fields) => lines.push({ text, fields }),
  });
  return { crews, lines };
}

const DAMAGED = new QueueError('JOURNAL_CORRUPT', 'the head is \u001bgone');

test('one that is in trouble is told, and nothing to the others', async () => {
  const { opened, open } = gate();
  const { crews, lines } = crewsOf('good, bad', async (queue) => {
    if (queue === 'bad') throw DAMAGED;
    await opened;
    return false;
  });
  crews.start();
  await settle();
  expect(lines).toEqual([
    { text: 'is not being drained: the head is \u001bgone; again in 1 s', fields: { queue: 'bad' } },
  ]);
  crews.check();
  expect(crews.troubles).toEqual(['bad is not being drained: the head is \\u001bgone']);
  const stopped = crews.stop(new AbortController().signal);
  open();
  await stopped;
});

test('all in trouble is trouble for the daemon, and a stop does not wait for the next try', async () => {
  const { crews } = crewsOf('one, two', () => Promise.reject(DAMAGED));
  crews.start();
  await settle();
  expect(() => crews.check()).toThrow(
    'no queue is being drained; one: the head is \\u001bgone; two: the head is \\u001bgone',
  );
  await crews.stop(new AbortController().signal);
});

test('the wait for the next try doubles', async () => {
  let tries = 0;
  const third = gate();
  const { crews, lines } = crewsOf('bad', () => {
    if (++tries === 3) third.open();
    return Promise.reject(DAMAGED);
  });
  crews.start();
  await third.opened;
  await settle();
  expect(lines.map(({ text }) => /again in .*/.exec(text)?.[0])).toEqual([
    'again in 1 s',
    'again in 2 s',
    'again in 4 s',
  ]);
  await crews.stop(new AbortController().signal);
});
