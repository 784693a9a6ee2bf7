/** What follows when a daemon has failed: how the configuration words it, and how failures are counted. */
import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { NO_FAILURES, afterFailure, restartsOf, type RecoveryPolicy } from '../../src/daemon/recovery.ts';
import { eventOf } from '../../src/daemon/event-log.ts';

async function policyOf(flags: Record<string, string> = {}): Promise<RecoveryPolicy> {
  return (await loadConfig({ cwd: tmpdir(), env: {}, flags })).daemon;
}

const kinds = ({ onFailure }: RecoveryPolicy): string[] => onFailure.map(({ kind }) => kind);

describe('the configuration', () => {
  test('restarts a minute after each failure, and forgets them after a day, unless it says otherwise', async () => {
    const policy = await policyOf();
    expect(kinds(policy)).toEqual(['restart', 'restart', 'restart']);
    expect(policy).toMatchObject({ recoveryDelay: 60_000, resetPeriod: 86_400_000 });
  });

  test('the last action holds for all that follow', async () => {
    expect(kinds(await policyOf({ onFailure: 'none' }))).toEqual(['none', 'none', 'none']);
    expect(kinds(await policyOf({ onFailure: ' restart ,  none ' }))).toEqual(['restart', 'none', 'none']);
    expect(kinds(await policyOf({ onFailure: 'restart,restart,reboot' }))).toEqual([
      'restart',
      'restart',
      'reboot',
    ]);
  });

  test('a program to run is taken apart into words; quotes hold blanks and commas together', async () => {
    const { onFailure } = await policyOf({ onFailure: 'restart, run "/opt/my tools/page" --to "a, b" c' });
    expect(onFailure[1]).toEqual({ kind: 'run', command: ['/opt/my tools/page', '--to', 'a, b', 'c'] });
    expect(onFailure[2]).toBe(onFailure[1]);
    expect((await policyOf({ onFailure: 'run C:\\page.exe' })).onFailure[0]).toMatchObject({
      command: ['C:\\page.exe'],
    });
  });

  test.each([
    '',
    'restart,',
    'restart,,none',
    'restart, restart, restart, none',
    'Restart',
    'restart now',
    'run',
    'run page-me',
    'run "/a',
    'run /a\u0007',
    'none run /a',
  ])('refuses %j', async (onFailure) => {
    await expect(policyOf({ onFailure })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('failures', () => {
  test('are answered in their order, after the delay', async () => {
    const policy = await policyOf({ onFailure: 'restart, run /bin/page, none', recoveryDelay: '5s' });
    let { failures } = { failures: NO_FAILURES };
    const actions: string[] = [];
    for (let now = 0; now < 4000; now += 1000) {
      const next = afterFailure(policy, failures, now);
      expect(next.delay).toBe(5000);
      actions.push(next.action.kind);
      failures = next.failures;
    }
    expect(actions).toEqual(['restart', 'run', 'none', 'none']);
    expect(failures).toEqual({ count: 4, lastAt: 3000 });
  });

  test('count from the first again after the reset period without one, not a moment before', async () => {
    const policy = await policyOf({ onFailure: 'restart, none', resetPeriod: '10s' });
    const first = afterFailure(policy, NO_FAILURES, 0).failures;
    expect(afterFailure(policy, first, 9999).action.kind).toBe('none');
    expect(afterFailure(policy, first, 10_000).action.kind).toBe('restart');
    // Each failure begins the period anew.
    const second = afterFailure(policy, first, 9999).failures;
    expect(afterFailure(policy, second, 19_998).action.kind).toBe('none');
  });

  test('are never forgotten with a period of 0', async () => {
    const policy = await policyOf({ onFailure: 'restart, none', resetPeriod: '0' });
    const first = afterFailure(policy, NO_FAILURES, 0).failures;
    expect(afterFailure(policy, first, 1e15).action.kind).toBe('none');
  });
});

test('as systems see it that can only restart so many times', async () => {
  const of = async (onFailure: string) => {
    const { count, afterwards, goesOn } = restartsOf(await policyOf({ onFailure }));
    return [count, afterwards.kind, goesOn];
  };
  expect(await of('restart')).toEqual([Infinity, 'restart', false]);
  expect(await of('none')).toEqual([0, 'none', false]);
  expect(await of('restart, restart, none')).toEqual([2, 'none', false]);
  expect(await of('restart, run /bin/page')).toEqual([1, 'run', false]);
  expect(await of('restart, none, restart')).toEqual([1, 'none', true]);
  expect(await of('run /bin/page, restart')).toEqual([0, 'run', true]);
});

test("Windows' event log gets one line, of a length that its tool takes", () => {
  const args = eventOf('reports', `a\nb\u001b[31m${'x'.repeat(10_000)}`);
  const [, text = ''] = args.slice(-2);
  expect(text).toContain('daemon reports: a\\u000ab\\u001b[31mx');
  expect(text.length).toBe(2000);
  expect(args.slice(0, -2)).toEqual(['/L', 'APPLICATION', '/T', 'ERROR', '/SO', 'coda', '/ID', '1']);
});
