/** A daemon as a service of a real systemd, from its installation to its removal; `npm run test:system`. */
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Machine, makeBase, until, whyNot } from './machine.ts';

const UNIT = 'coda-tick.service';

/** Names of fields, for [log] redact, of all that means something to a unit. */
const HOSTILE = 'it\\s,$HOME,${X},%n,%%,;b';

/** It does what files beside it say. */
const DAEMON = `
import { existsSync } from 'node:fs';
import { Daemon } from 'coda-queue';
export default class extends Daemon {
  async onStart() { if (existsSync('slow')) await new Promise((resolve) => setTimeout(resolve, 2000)); }
  async executeStart() { if (existsSync('hang')) await new Promise(() => {}); while (existsSync('block')); }
  verify() { return !existsSync('sick'); }
  getSleepTime() { return 0.5; }
}
`;

const CONFIG = `[worker]
stopDeadline = 2s
[daemon]
stallAfter = 3s
recoveryDelay = 1s
resetPeriod = 1h
`;

/** Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: { base: { type: 'string' } } });
  const missing = whyNot();
  if (missing !== undefined) {
    console.error(`system: skipped, ${missing}`);
    return 69;
  }
  const base = values.base ?? join(tmpdir(), 'coda-system-base');
  mkdirSync(base, { recursive: true });
  makeBase(base);
  const machine = new Machine(base);
  try {
    prepare(machine);
    await machine.boot();
    console.log(`${await machine.does('sh', '-c', 'systemctl --version | head -1')}, as process 1`);
    let failed = 0;
    for (const [title, check] of Object.entries(CHECKS)) {
      const began = performance.now();
      let why = '';
      try {
        await check(machine);
      } catch (error) {
        why = `\n    ${(error as Error).message}`;
        failed++;
      }
      const took = ((performance.now() - began) / 1000).toFixed(1);
      console.log(`${why === '' ? 'ok    ' : 'FAILED'}  ${title} (${took} s)${why}`);
    }
    if (failed > 0) console.log((await machine.run('journalctl', '--no-pager', '-n', '60')).stdout);
    console.log(`${Object.keys(CHECKS).length} checks, ${failed} failed`);
    return failed > 0 ? 1 : 0;
  } finally {
    await machine.close();
  }
}

function prepare(machine: Machine): void {
  machine.installPackage();
  machine.offline('useradd', '--system', 'coda');
  machine.file('srv/app/config.ini', CONFIG);
  machine.file('srv/app/daemons/tickDaemon.mjs', DAEMON);
  machine.file(
    'srv/app/workers/notes.mjs',
    `import { appendFileSync } from 'node:fs';
import { Worker } from 'coda-queue';
export default class extends Worker { process({ data }) { appendFileSync('noted', data); } }
`,
  );
  machine.offline('chown', '-R', 'coda:', '/srv/app');
}

type Check = (machine: Machine) => Promise<void>;

const CHECKS: Readonly<Record<string, Check>> = {
  'install --enable starts it, and returns when it has said that it is up': async (machine) => {
    await machine.does('touch', 'slow');
    await machine.does('queue-daemon', 'install', 'tick', '--enable');
    await machine.does('rm', 'slow');
    equal(await machine.show(UNIT, 'ActiveState'), 'active');
    equal(await machine.show(UNIT, 'Type'), 'notify');
    equal(await machine.does('systemctl', 'is-enabled', UNIT), 'enabled');
    equal((await stateOf(machine)).service, UNIT);
    equal(await machine.does('stat', '-c', '%U', '/srv/app/var/tick.state.json'), 'coda');
    await until('its status is told', async () =>
      /iterations? so far/.test(await machine.show(UNIT, 'StatusText')),
    );
  },
  'its log is in the journal, with levels': async (machine) => {
    const lines = await machine.does('journalctl', '-u', UNIT, '-o', 'cat', '-p', 'info..info');
    equal(
      lines.split('\n').some((line) => line.startsWith('starting  daemon=tick  pid=')),
      true,
    );
  },
  'its units are in order': async (machine) => {
    const { code, stderr } = await machine.run('systemd-analyze', 'verify', UNIT, 'coda.verify-tick.timer');
    equal([code, stderr], [0, '']);
  },
  'it starts with the machine, also after a cut of the power': async (machine) => {
    await machine.cut();
    await machine.boot();
    await until('it is active', async () => (await machine.show(UNIT, 'ActiveState')) === 'active');
    equal((await stateOf(machine)).state, 'running');
  },
  'reload keeps the process, and fails when the configuration is wrong': async (machine) => {
    const before = await machine.show(UNIT, 'MainPID');
    await machine.does('systemctl', 'reload', UNIT);
    equal((await stateOf(machine)).reloads.count, 1);
    machine.append('srv/app/config.ini', 'stalAfter = 3s\n');
    equal((await machine.run('systemctl', 'reload', UNIT)).code, 1);
    await machine.does('sed', '-i', '/stalAfter/d', 'config.ini');
    equal([await machine.show(UNIT, 'MainPID'), await machine.show(UNIT, 'ActiveState')], [before, 'active']);
  },
  'an iteration that hangs is ended by the watchdog, and the daemon is started again': (machine) =>
    isRestarted(machine, 'watchdog', () => machine.does('touch', 'hang')),
  'so is a blocked event loop': (machine) =>
    isRestarted(machine, 'watchdog', () => machine.does('touch', 'block')),
  'killed, it is started again': (machine) =>
    isRestarted(machine, 'signal', async () => {
      await machine.does('kill', '-9', await machine.show(UNIT, 'MainPID'));
    }),
  'unhealthy, it is ended by "verify --revive" of its account, and started again by its service': (machine) =>
    isRestarted(machine, 'signal', async () => {
      await machine.does('touch', 'sick');
      await until('it is unhealthy', async () => (await stateOf(machine)).state === 'unhealthy');
      await machine.does('runuser', '-u', 'coda', '--', 'queue-daemon', 'verify', '--all', '--revive');
    }),
  'started beside its service it would be: "restart" is refused': async (machine) => {
    const { code, stderr } = await machine.run('queue-daemon', 'restart', 'tick');
    equal([code, /systemctl restart/.test(stderr)], [75, true]);
  },
  'a stop that was asked for is no failure, whoever asks': async (machine) => {
    await machine.does('systemctl', 'stop', UNIT);
    equal(
      [await machine.show(UNIT, 'ActiveState'), await machine.show(UNIT, 'Result')],
      ['inactive', 'success'],
    );
    equal((await machine.run('queue-daemon', 'status', 'tick')).code, 3);
    await machine.does('systemctl', 'start', UNIT);
    await machine.does('runuser', '-u', 'coda', '--', 'queue-daemon', 'stop', 'tick');
    await until('systemd has seen it', async () => (await machine.show(UNIT, 'ActiveState')) === 'inactive');
    equal(await machine.show(UNIT, 'Result'), 'success');
  },
  'a wrong configuration is not tried again': async (machine) => {
    machine.append('srv/app/config.ini', 'stalAfter = 3s\n');
    await machine.run('systemctl', 'start', UNIT);
    await machine.does('sed', '-i', '/stalAfter/d', 'config.ini');
    equal(
      [await machine.show(UNIT, 'ActiveState'), await machine.show(UNIT, 'ExecMainStatus')],
      ['failed', '78'],
    );
    await machine.does('systemctl', 'reset-failed', UNIT);
  },
  'after so many failures it has failed, and the alarm is raised': async (machine) => {
    machine.append('srv/app/config.ini', 'onFailure = restart, restart, run /usr/bin/touch /srv/app/alarm\n');
    await machine.does('queue-daemon', 'install', 'tick', '--enable');
    await machine.does('systemctl', 'restart', UNIT);
    await machine.does('systemctl', 'reset-failed', UNIT);
    await machine.does('systemctl', 'stop', UNIT);
    await machine.does('systemctl', 'start', UNIT);
    for (let failures = 1; failures <= 3; failures++) {
      await until('it runs', async () => (await machine.show(UNIT, 'ActiveState')) === 'active');
      await machine.does('kill', '-9', await machine.show(UNIT, 'MainPID'));
      await until('systemd has seen it', async () => (await machine.show(UNIT, 'ActiveState')) !== 'active');
    }
    await until('it has failed', async () => (await machine.show(UNIT, 'ActiveState')) === 'failed');
    // The third was refused.
    equal(await machine.show(UNIT, 'NRestarts'), '3');
    await until('the alarm is raised', async () => (await machine.run('test', '-e', 'alarm')).code === 0);
    await machine.does('systemctl', 'reset-failed', UNIT);
  },
  'whatever its folder is called, each word arrives as it is': async (machine) => {
    // Node loads nothing from below a backslash.
    const folder = `/srv/it's "a" $HOME %n ;b`;
    await machine.does('cp', '-a', '/srv/app', folder);
    await machine.does('mv', `${folder}/daemons/tickDaemon.mjs`, `${folder}/daemons/oddDaemon.mjs`);
    const install = 'cd "$0" && CODA_REDACT="$1" queue-daemon install odd --config config.ini --enable';
    await machine.does('sh', '-c', install, folder, HOSTILE);
    const pid = await machine.show('coda-odd.service', 'MainPID');
    const words = await machine.does('cat', `/proc/${pid}/environ`);
    equal(words.split('\0').includes(`CODA_REDACT=${HOSTILE}`), true);
    equal(await machine.does('readlink', `/proc/${pid}/cwd`), folder);
    // Its command line is told by the configuration that it has read, in which stateDir is relative.
    equal(await machine.does('head', '-1', `${folder}/var/odd.pid`), pid);
    await machine.does(
      'sh',
      '-c',
      'cd "$0" && queue-daemon reload odd && queue-daemon uninstall odd',
      folder,
    );
  },
  'a worker is an instance of the template': async (machine) => {
    await machine.does('queue-daemon', 'install', 'worker@');
    await machine.does('systemctl', 'enable', '--now', 'coda-worker@notes.service');
    const queue = (...args: string[]) => machine.run('runuser', '-u', 'coda', '--', 'queue', ...args);
    await until('its queue is there', async () => (await queue('status', 'notes')).code === 0);
    equal((await queue('add', 'notes', '"hello"')).code, 0);
    await until('it is processed', async () => (await machine.run('cat', 'noted')).stdout === 'hello');
    await machine.does('queue-daemon', 'uninstall', 'worker@');
    equal(await machine.show('coda-worker@notes.service', 'ActiveState'), 'inactive');
  },
  'uninstall leaves nothing of it': async (machine) => {
    await machine.does('systemctl', 'start', UNIT);
    await machine.does('queue-daemon', 'uninstall', 'tick');
    equal(await machine.does('sh', '-c', 'find /etc/systemd /run/systemd/system -name "coda-*"'), '');
    equal((await machine.run('pgrep', '-f', 'coda: tick')).stdout, '');
  },
};

/** Has the daemon fail, and sees that systemd starts it again within half a minute. */
async function isRestarted(machine: Machine, result: string, fail: () => Promise<unknown>): Promise<void> {
  await until('it runs', async () => (await machine.show(UNIT, 'ActiveState')) === 'active');
  const pid = await machine.show(UNIT, 'MainPID');
  const restarts = Number(await machine.show(UNIT, 'NRestarts'));
  await fail();
  await until(
    'it has failed',
    async () =>
      (await machine.show(UNIT, 'NRestarts')) !== String(restarts) ||
      (await machine.show(UNIT, 'MainPID')) !== pid,
  );
  await machine.does('rm', '-f', 'hang', 'block', 'sick');
  await until('it runs again', async () => {
    const now = await machine.show(UNIT, 'MainPID');
    return now !== '0' && now !== pid && (await stateOf(machine)).state === 'running';
  });
  const { stdout } = await machine.run('journalctl', '--no-pager', '-u', UNIT, '-n', '100', '-o', 'cat');
  equal(stdout.includes(`Failed with result '${result}'`), true);
}

async function stateOf(
  machine: Machine,
): Promise<{ state: string; service: string; reloads: { count: number } }> {
  const { stdout, stderr } = await machine.run('queue-daemon', 'status', 'tick', '--json');
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as never;
}

function equal(found: unknown, expected: unknown): void {
  const [left, right] = [JSON.stringify(found), JSON.stringify(expected)];
  if (left !== right) throw new Error(`expected ${right}, found ${left}`);
}
