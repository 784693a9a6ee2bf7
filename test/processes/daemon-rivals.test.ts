/** One place for each daemon, however many want it. */
import { existsSync } from 'node:fs';
import { expect } from 'vitest';
import type { Started } from '../cli/commands.ts';
import { until } from './stage.ts';
import { yardTest as test } from './yard.ts';

const IDLE = 'executeStart() {} getSleepTime() { return 3600; }';

test('of two that start at once exactly one runs, in 50 tries, whether the last one ended or died', async ({
  yard,
}) => {
  yard.daemon('idle', IDLE);
  for (let i = 0; i < 50; i++) {
    const rivals = [yard.foreground('idle'), yard.foreground('idle')];
    const isOver = ({ process: { exitCode } }: Started): boolean => exitCode !== null;
    await until(() => rivals.some(isOver));
    const loser = rivals.findIndex(isOver);
    expect(await rivals[loser]!.ended).toMatchObject({
      code: 75,
      stderr: expect.stringContaining('DAEMON_RUNNING') as string,
    });
    const winner = rivals[1 - loser]!;
    // That the other is refused means that this one is sure of the place, not that it has put up its name.
    await until(() => existsSync(yard.path('idle', '.pid')) && yard.pidOf('idle') === winner.process.pid);
    winner.process.kill(i % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
    await winner.ended;
  }
  // Even ones died, and the next one noticed; the last one ended.
  expect(await yard.status('idle')).toMatchObject({ state: 'stopped', crashes: 25 });
}, 300_000);
