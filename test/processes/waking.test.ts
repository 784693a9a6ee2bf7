/** An idle consumer and a message from another process: a watch wakes it; where there is none, a slow poll finds out. */
import { expect } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Clock, FileSystem, Ports } from '../../src/cache/ports.ts';
import { messages, stageTest, until } from './stage.ts';

const test = stageTest();

/** The real ports, with calls counted and some of them replaced. */
function watchedPorts(replaced: { fs?: Partial<FileSystem>; clock?: Pick<Clock, 'timer'> }) {
  const calls = { stat: 0, read: 0, list: 0, space: 0 };
  /** Timers that are waiting to fire: a consumer asleep has one. */
  let armed = 0;
  const { fs, clock } = nodePorts;
  const counting: FileSystem = {
    ...fs,
    stat: (fd) => (calls.stat++, fs.stat(fd)),
    read: (...args) => (calls.read++, fs.read(...args)),
    list: (path) => (calls.list++, fs.list(path)),
    space: (path) => (calls.space++, fs.space(path)),
    ...replaced.fs,
  };
  const real: Clock['timer'] = (ms, run) => (replaced.clock ?? clock).timer(ms, run);
  const timer: Clock['timer'] = (ms, run) => {
    armed++;
    const cancel = real(ms, () => {
      armed--;
      run();
    });
    return () => {
      armed--;
      cancel();
    };
  };
  const ports: Ports = { ...nodePorts, fs: counting, clock: { ...clock, timer } };
  return { ports, calls, asleep: () => until(() => armed > 0) };
}

/** A timer that never fires. */
const never: Clock['timer'] = () => () => undefined;

test('a watch wakes it: it looks at nothing while it sleeps, and no timer fires', async ({
  stage,
  queue,
}) => {
  const { ports, calls, asleep } = watchedPorts({ clock: { timer: never } });
  const consumer = await stage.queue({ ports });
  const producer = await stage.start();
  // Opens the queue, so that only the add itself is left to wake the sleeper.
  await producer.queue.status();
  for (let n = 0; n < 20; n++) {
    const woken = consumer.wait(20_000, undefined);
    await asleep();
    const before = { ...calls };
    await queue.status();
    await producer.queue.status();
    expect(calls).toEqual(before);
    await producer.queue.add(messages(n));
    expect(await woken).toBe(true);
    const [claim] = await consumer.claim(1, 10_000);
    expect(claim).toMatchObject({ data: n });
    expect(await consumer.settle(claim!, { type: 'complete' })).toBe(true);
  }
});

const NO_WATCHES = Object.assign(new Error('System limit for number of file watchers reached'), {
  code: 'ENOSPC',
});

test.for([
  [
    'cannot be had',
    () => {
      throw NO_WATCHES;
    },
  ],
  ['misses everything', () => () => undefined],
] as [string, FileSystem['watch']][])(
  'where the watch %s, a poll finds the message in good time',
  async ([, watch], { stage }) => {
    const { ports, calls, asleep } = watchedPorts({ fs: { watch } });
    const consumer = await stage.queue({ ports });
    const producer = await stage.start();
    await producer.queue.status();
    const woken = consumer.wait(20_000, undefined);
    await asleep();
    // A second in which nothing happens: it does not spin.
    const looks = calls.stat;
    expect(await stage.queue().then((idle) => idle.wait(1000, undefined))).toBe(false);
    expect(calls.stat - looks).toBeLessThan(10);
    const began = performance.now();
    await producer.queue.add(messages('found'));
    expect(await woken).toBe(true);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(await consumer.claim(1, 10_000)).toMatchObject([{ data: 'found' }]);
  },
);
