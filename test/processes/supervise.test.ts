/** `queue-daemon supervise`: what the configuration names runs, and the verbs of daemons hold for the supervisor. */
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { overseerTest as test } from './overseer.ts';
import { isGone } from './masters.ts';
import { until } from './stage.ts';

describe('the sections of the configuration', () => {
  test('are run, each in its way, and a stop ends them all', async ({ yard }) => {
    yard.worker('mail', 'note("mail " + message.data)');
    yard.class('clock', 'commandWhere() { return this.params; }');
    yard.daemon('reports', 'executeStart() { this.log.info("reporting"); }');
    yard.configure(
      '[process:mails]\nworker = mail\nqueue = letters\ninstances = 2\n' +
        '[process:rome]\nclass = clock.mjs\nparams.city = Rome\n[process:oslo]\nclass = ./clock.mjs\nparams.city = Oslo\n' +
        '[process:nap]\nexec = \'sh -c "echo asleep; sleep 1000"\'\n[process:daily]\ndaemon = reports\n' +
        '[process:later]\nexec = sleep 2000\nautostart = false\n',
    );
    const supervisor = await yard.supervise();
    await yard.up('mails', 2);
    await yard.up('nap');
    await yard.up('daily');
    await yard.bench.queue('add', 'letters', '"hello"');
    await until(() => yard.noted.includes('mail hello'));
    for (const city of ['Rome', 'Oslo']) {
      await yard.up(city.toLowerCase());
      const said = await yard.ask('POST', `/api/processes/${city.toLowerCase()}/command`, {
        command: 'where',
      });
      expect(said).toMatchObject({ answers: [{ result: { city } }] });
    }
    await supervisor.said('asleep');
    await supervisor.said('reporting');
    expect(await yard.children('later')).toMatchObject([{ state: 'stopped', pid: null }]);
    await yard.ask('POST', '/api/processes/later/start', {});
    await yard.up('later');
    expect(await yard.ended(supervisor)).toBe(0);
    expect(yard.running()).toEqual([]);
  });

  test('may be none: it waits for what is added', async ({ yard }) => {
    yard.configure('');
    const supervisor = await yard.supervise();
    await yard.does('verify', 'supervisor');
    await yard.ask('POST', '/api/processes', { name: 'nap', exec: ['sleep', '1000'] });
    await yard.up('nap');
    expect(await yard.ended(supervisor)).toBe(0);
    expect(yard.running()).toEqual([]);
  });

  test('that are wrong keep it from starting, by name, and nothing else', async ({ yard }) => {
    yard.configure('[process:a]\nexec = sleep 1000\n[process:b]\nexec = x\ninstanses = 2\n');
    const { code, stderr } = await yard.verb('supervise');
    expect(code).toBe(78);
    expect(stderr).toMatch(/config\.ini", \[process:b\]: unknown key "instanses"; did you mean instances\?/);
    expect(yard.running()).toEqual([]);
    expect((await yard.bench.queue('create', 'q')).code).toBe(0);
  });

  test('are not looked for on the command line', async ({ yard }) => {
    for (const [args, code, said] of [
      [['mails'], 64, 'too many arguments'],
      [['--cofnig', 'x'], 64, 'Did you mean --config?'],
      [['--config', 'nowhere.ini'], 78, 'expected a readable configuration file'],
    ] as const) {
      const ended = await yard.verb('supervise', ...args);
      expect([ended.code, ended.stdout]).toEqual([code, '']);
      expect(ended.stderr).toContain(said);
    }
  });
});

test('start, status, verify and stop hold for it as for any daemon', async ({ yard }) => {
  yard.configure(
    '[process:bad]\nexec = \'sh -c "echo no license >&2; exit 3"\'\nrestartLimit = 2\nrestartDelay = 1ms\n',
  );
  await yard.does('start', 'supervisor');
  await until(async () => (await yard.children('bad'))[0]?.state === 'failed');
  // Troubles are told by the state, which is written when an iteration has ended.
  await until(async () => (await yard.status('supervisor')).troubles.length > 0);
  const { state, health, troubles } = await yard.status('supervisor');
  expect([state, health?.sound]).toEqual(['running', true]);
  expect(troubles).toEqual(['bad#1 has failed: ended with exit code 3: no license']);
  await yard.does('verify', 'supervisor');
  expect((await yard.verb('supervise')).stderr).toContain('DAEMON_RUNNING');
  await yard.does('stop', 'supervisor');
  expect(yard.running()).toEqual([]);
});

test('children that do not listen are killed when its time is over, or with the second signal', async ({
  yard,
}) => {
  const deaf = 'exec = \'sh -c "trap : TERM; while :; do sleep 1; done"\'\n';
  yard.configure(`[worker]\nstopDeadline = 1s\n[process:deaf]\n${deaf}stopDeadline = 1h\n`);
  for (const patience of [false, true]) {
    const supervisor = await yard.supervise();
    await yard.up('deaf');
    supervisor.process.kill('SIGTERM');
    await supervisor.said('SIGTERM: stopping');
    if (!patience) supervisor.process.kill('SIGTERM');
    const { code, stderr } = await supervisor.ended;
    expect(code).toBe(patience ? 0 : 1);
    // By the supervisor, which waits for that; not by what outlives it.
    expect(stderr).not.toContain('had not ended in time');
    expect(yard.running()).toEqual([]);
  }
});

test('a daemon that hangs is killed, and started again as its recovery says', async ({ yard }) => {
  yard.daemon(
    'sick',
    `stallAfter = 1;
    executeStart() { appendFileSync(process.env.NOTES, process.pid + '\\n'); return new Promise(() => undefined); }`,
    "import { appendFileSync } from 'node:fs';",
  );
  yard.configure(
    '[worker]\nstopDeadline = 1s\n[process:sick]\ndaemon = sick\nrestartDelay = 1ms\nonFailure = restart, none\n',
  );
  const supervisor = yard.bench.start('queue-daemon', ['supervise'], { NOTES: yard.notes });
  await supervisor.said('daemon sick is stalled: its iteration does not end; it is killed');
  await until(() => yard.noted.length === 2);
  const [first, second] = yard.noted.map(Number);
  expect(first).not.toBe(second);
  expect(await yard.children('sick')).toMatchObject([{ restarts: 1, lastEnd: { failed: true } }]);
  expect(await yard.ended(supervisor)).toBe(0);
  expect(yard.running()).toEqual([]);
});

test('when it is killed, what it ran ends, and the next one begins with what was saved', async ({ yard }) => {
  yard.class('clock');
  yard.configure('[process:clock]\nclass = clock.mjs\n[process:nap]\nexec = sleep 1000\n');
  const supervisor = await yard.supervise();
  const pids = [...(await yard.up('clock')), ...(await yard.up('nap'))];
  await yard.ask('POST', '/api/processes/nap/scale', { instances: 2, save: true });
  supervisor.process.kill('SIGKILL');
  await supervisor.ended;
  const next = await yard.supervise();
  await yard.up('clock');
  await yard.up('nap', 2);
  // Whoever inherits the dead may leave them unburied.
  expect(pids.map(isGone)).toEqual([true, true]);
  expect(await yard.ended(next)).toBe(0);
  expect(yard.running()).toEqual([]);
  expect(JSON.parse(readFileSync(yard.path('supervisor', '.saved.json'), 'utf8'))).toMatchObject({
    changes: { nap: { kept: 'changed', instances: 2 } },
  });
});
