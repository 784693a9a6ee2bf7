/** What changes while a supervisor runs: its configuration, and what people ask for; and what of that is kept. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { overseerTest as test, type Overseer } from './overseer.ts';
import { stateOf, until } from './stage.ts';

/** Origin and number of children of each process, by name. */
async function seen(yard: Overseer): Promise<Record<string, string>> {
  const processes = await yard.processes();
  return Object.fromEntries(
    processes.map(({ name, origin, children }) => [
      name,
      `${origin} x${children.length} ${children[0]?.state ?? ''}`,
    ]),
  );
}

const THREE =
  '[process:same]\nclass = idle.mjs\nparams.a = 1\n[process:other]\nclass = idle.mjs\nparams.a = 1\ninstances = 2\n' +
  '[process:gone]\nexec = sleep 1000\n';

describe('SIGHUP', () => {
  test('starts what is new, ends what is gone, restarts what has changed, and touches nothing else', async ({
    yard,
  }) => {
    yard.class('idle', 'commandA() { return this.params.a; }');
    yard.configure(THREE);
    const supervisor = await yard.supervise();
    const same = await yard.up('same');
    const other = await yard.up('other', 2);
    const [gone = 0] = await yard.up('gone');
    yard.configure(
      '; moved about\n[process:new]\nexec = sleep 2000\n[process:other]\ninstances = 2\nparams.a = 2\nclass = ./idle.mjs\n' +
        '[process:same]\nparams.a = "1"\nclass = idle.mjs\nrestartLimit = 3\n',
    );
    supervisor.process.kill('SIGHUP');
    await yard.up('new');
    await until(async () => (await yard.up('other', 2)).every((pid) => !other.includes(pid)));
    expect(await yard.up('same')).toEqual(same);
    expect(stateOf(gone)).toBeUndefined();
    expect((await yard.processes()).map(({ name }) => name).sort()).toEqual(['new', 'other', 'same']);
    const answers = await yard.ask('POST', '/api/processes/other/command', { command: 'a' });
    expect(answers).toMatchObject({ answers: [{ result: '2' }, { result: '2' }] });
    expect(await yard.ended(supervisor)).toBe(0);
  });

  test('with a configuration that is wrong leaves everything as it was, and says so', async ({ yard }) => {
    yard.class('idle');
    yard.configure(THREE);
    const supervisor = await yard.supervise();
    const before = [...(await yard.up('same')), ...(await yard.up('other', 2)), ...(await yard.up('gone'))];
    for (const [text, why] of [
      ['[process:same]\nclas = idle.mjs\n', 'did you mean class?'],
      ['this is nothing\n', 'line 3: expected key = value'],
      ['[process:other]\nworker = x\n[process:other]\nworker = x\n', 'expected once, received again'],
    ] as const) {
      yard.configure(text);
      supervisor.process.kill('SIGHUP');
      await supervisor.said(why);
    }
    expect([...(await yard.up('same')), ...(await yard.up('other', 2)), ...(await yard.up('gone'))]).toEqual(
      before,
    );
    expect(await yard.ended(supervisor)).toBe(0);
  });

  test('restarts those who read another section that has changed, and moves the API with the queues', async ({
    yard,
  }) => {
    yard.class('idle');
    yard.worker('mail', 'note(message.data)');
    yard.worker('lazy', 'note("lazily " + message.data)');
    const rest =
      '[process:lazy]\nworker = lazy\ninstances = 0-1\nscaleAge = 1ms\n' +
      '[process:idle]\nclass = idle.mjs\n[process:mail]\nworker = mail\n[process:nap]\nexec = sleep 1000\n';
    yard.configure(rest);
    const supervisor = await yard.supervise();
    const idle = await yard.up('idle');
    const mail = await yard.up('mail');
    const nap = await yard.up('nap');
    await yard.bench.queue('create', 'lazy');
    await yard.ask('POST', '/api/queue/lazy', { data: 'early' });
    await until(() => yard.noted.includes('lazily early'));
    await until(async () => (await yard.children('lazy')).length === 0);
    yard.configure(`[queue]\ncacheRoot = elsewhere\n${rest}`);
    supervisor.process.kill('SIGHUP');
    await until(async () => {
      const now = [...(await yard.up('idle')), ...(await yard.up('mail'))];
      return !now.includes(idle[0]!) && !now.includes(mail[0]!);
    });
    expect(await yard.up('nap')).toEqual(nap);
    expect(await yard.ask('POST', '/api/queue/mail', { data: 'hello' })).toBeDefined();
    await until(() => yard.noted.includes('hello'));
    // Who scales asks the queues that there are now.
    await yard.bench.queue('create', 'lazy', '--cache-root', 'elsewhere');
    expect(await yard.ask('POST', '/api/queue/lazy', { data: 'hello' })).toBeDefined();
    await until(() => yard.noted.includes('lazily hello'));
    expect(
      JSON.parse((await yard.bench.queue('list', '--cache-root', 'elsewhere', '--json')).stdout),
    ).toHaveLength(2);
    expect(await yard.ended(supervisor)).toBe(0);
  });

  test('is refused when a section has the name of a process that was added meanwhile', async ({ yard }) => {
    yard.configure('');
    const supervisor = await yard.supervise();
    await yard.ask('POST', '/api/processes', { name: 'mine', exec: 'sleep 1000' });
    const [pid] = await yard.up('mine');
    yard.configure('[process:mine]\nexec = sleep 2000\n');
    supervisor.process.kill('SIGHUP');
    await supervisor.said('[process:mine]: expected a name of its own');
    expect(await yard.up('mine')).toEqual([pid]);
    await yard.ask('DELETE', '/api/processes/mine');
    supervisor.process.kill('SIGHUP');
    await until(async () => (await seen(yard))['mine'] === 'configured x1 running');
    expect(await yard.ended(supervisor)).toBe(0);
  });

  test('again and again, while children are still being restarted, ends with what was said last', async ({
    yard,
  }) => {
    yard.class('idle', 'commandA() { return this.params.a; }');
    const text = (a: number): string => `[process:p]\nclass = idle.mjs\ninstances = 3\nparams.a = ${a}\n`;
    yard.configure(text(1));
    const supervisor = await yard.supervise();
    await yard.up('p', 3);
    // Each is told when the one before has been taken up, and its restarts may still be under way.
    for (const [count, a] of [2, 3, 2].entries()) {
      yard.configure(text(a));
      supervisor.process.kill('SIGHUP');
      await until(async () => (await yard.status('supervisor')).reloads.count === count + 1);
    }
    await until(async () => {
      await yard.up('p', 3);
      const { answers } = (await yard.ask('POST', '/api/processes/p/command', { command: 'a' })) as {
        answers: { result?: string }[];
      };
      return answers.every(({ result }) => result === '2');
    });
    expect(await yard.ended(supervisor)).toBe(0);
    expect(yard.running()).toEqual([]);
  });
});

describe('a rolling reload', () => {
  const text = (a: number): string =>
    `[process:p]\nclass = slow.mjs\ninstances = 4\nrestartLimit = 1\nparams.a = ${a}\n`;
  /** Resolves when all four are up and read this param. */
  const reads = (yard: Overseer, a: string): Promise<void> =>
    until(async () => {
      await yard.up('p', 4);
      const { answers } = (await yard.ask('POST', '/api/processes/p/command', { command: 'a' })) as {
        answers: { result?: string }[];
      };
      return answers.every(({ result }) => result === a);
    });

  test('goes on behind a child that somebody stops and starts meanwhile', async ({ yard }) => {
    yard.class('slow', 'commandA() { return this.params.a; }');
    yard.configure(text(1));
    const supervisor = await yard.supervise();
    const before = await yard.up('p', 4);
    yard.configure(text(2));
    supervisor.process.kill('SIGHUP');
    await until(async () => (await yard.children('p'))[0]?.pid !== before[0]);
    await yard.ask('POST', '/api/processes/p%234/stop');
    await yard.ask('POST', '/api/processes/p%234/start');
    await reads(yard, '2');
    expect((await yard.up('p', 4)).filter((pid) => before.includes(pid))).toEqual([]);
    expect(await yard.ended(supervisor)).toBe(0);
  });

  test('that a child has halted goes on with the next reload, from that child on', async ({ yard }) => {
    yard.class('slow', 'commandA() { return this.params.a; }');
    yard.configure(text(1));
    const supervisor = await yard.supervise();
    const before = await yard.up('p', 4);
    // The next process that is started cannot be what it is to be.
    const broken = yard.bench.file(
      'slow.mjs',
      `${readFileSync(join(yard.bench.folder, 'slow.mjs'), 'utf8')};
      if (existsSync('broken')) throw new Error('no such camera');`,
    );
    writeFileSync(
      broken,
      readFileSync(broken, 'utf8').replace(
        'import { appendFileSync }',
        'import { appendFileSync, existsSync }',
      ),
    );
    yard.bench.file('broken', '');
    yard.configure(text(2));
    for (const count of [1, 2]) {
      supervisor.process.kill('SIGHUP');
      await supervisor.said(new RegExp(`(p#1 did not come up again[^]*){${count}}`));
      // The same one is tried again, and no other is lost over it.
      expect((await yard.children('p')).map(({ pid }) => pid)).toEqual([null, ...before.slice(1)]);
    }
    rmSync(join(yard.bench.folder, 'broken'));
    supervisor.process.kill('SIGHUP');
    await reads(yard, '2');
    const done = await yard.up('p', 4);
    // Then there is nothing left to do.
    supervisor.process.kill('SIGHUP');
    await until(async () => (await yard.status('supervisor')).reloads.count === 4);
    expect(await yard.up('p', 4)).toEqual(done);
    expect(await yard.ended(supervisor)).toBe(0);
  });
});

describe('changes that are saved', () => {
  test('of a process that was added keep all of it, and the configuration can be read anew', async ({
    yard,
  }) => {
    yard.configure('');
    const first = await yard.supervise();
    await yard.ask('POST', '/api/processes', { name: 'x', exec: 'sleep 1000' });
    await yard.ask('POST', '/api/processes/x/scale', { instances: 2, save: true });
    await yard.ask('POST', '/api/processes', { name: 'z', exec: 'sleep 1000' });
    await yard.ask('POST', '/api/processes/z/scale', { instances: 2, save: true });
    await yard.ask('POST', '/api/processes/z/stop', { save: true });
    const pids = await yard.up('x', 2);
    yard.configure('[process:new]\nexec = sleep 1000\n');
    first.process.kill('SIGHUP');
    await yard.up('new');
    expect(await yard.up('x', 2)).toEqual(pids);
    await yard.ask('POST', '/api/processes/x/stop', { save: true });
    const all = { new: 'configured x1 running', x: 'saved x2 stopped', z: 'saved x2 stopped' };
    expect(await seen(yard)).toEqual(all);
    expect(await yard.ended(first)).toBe(0);
    const second = await yard.supervise();
    await yard.up('new');
    expect(await seen(yard)).toEqual(all);
    // The newer word counts.
    yard.configure('[process:x]\nexec = sleep 3000\n');
    second.process.kill('SIGHUP');
    await until(async () => (await seen(yard))['x'] === 'configured x1 running');
    expect(await yard.ended(second)).toBe(0);
  });

  test('have the defaults that hold when they are made', async ({ yard }) => {
    yard.configure('');
    const supervisor = await yard.supervise();
    yard.configure('[worker]\nstopDeadline = 9s\n[supervisor]\nrestartLimit = 7\n');
    supervisor.process.kill('SIGHUP');
    await until(async () => (await yard.status('supervisor')).reloads.count === 1);
    await yard.ask('POST', '/api/processes', { name: 'y', exec: 'sleep 1000', save: true });
    expect(JSON.parse(readFileSync(yard.path('supervisor', '.saved.json'), 'utf8')).changes.y).toMatchObject({
      kept: 'added',
      process: { stopDeadline: 9000, restartLimit: 7 },
    });
    expect(await yard.ended(supervisor)).toBe(0);
  });

  test('hold at the next start; others do not', async ({ yard }) => {
    yard.configure(
      '[process:a]\nexec = sleep 1000\n[process:b]\nexec = sleep 1000\n[process:c]\nexec = sleep 1000\n[process:d]\nexec = sleep 1000\n',
    );
    const first = await yard.supervise();
    await yard.ask('POST', '/api/processes', { name: 'kept', exec: 'sleep 1000', instances: 2, save: true });
    await yard.ask('POST', '/api/processes', { name: 'lost', exec: 'sleep 1000' });
    await yard.ask('DELETE', '/api/processes/a?save=true');
    await yard.ask('DELETE', '/api/processes/d');
    await yard.ask('POST', '/api/processes/b/scale', { instances: 3, save: true });
    await yard.ask('POST', '/api/processes/c/stop', { save: true });
    await yard.ask('POST', '/api/processes/kept/scale', { instances: 1, save: true });
    expect(await yard.ended(first)).toBe(0);
    const second = await yard.supervise();
    await yard.up('b', 3);
    await yard.up('kept');
    await yard.up('d');
    expect(await seen(yard)).toEqual({
      b: 'configured x3 running',
      c: 'configured x1 stopped',
      d: 'configured x1 running',
      kept: 'saved x1 running',
    });
    // And what was stopped can be started again, for good.
    await yard.ask('POST', '/api/processes/c/start', { save: true });
    expect(await yard.ended(second)).toBe(0);
    const third = await yard.supervise();
    await yard.up('c');
    // A section that is edited counts more than what was saved of it.
    yard.configure('[process:a]\nexec = sleep 3000\n[process:b]\nexec = sleep 1000\n');
    third.process.kill('SIGHUP');
    await yard.up('a');
    await third.said('that it was removed is dropped');
    expect(await seen(yard)).toEqual({
      a: 'configured x1 running',
      b: 'configured x3 running',
      kept: 'saved x1 running',
    });
    expect(await yard.ended(third)).toBe(0);
    expect(yard.running()).toEqual([]);
  });

  test('in a file that is torn are told of and put aside, and the configuration holds', async ({ yard }) => {
    yard.configure('[process:a]\nexec = sleep 1000\n');
    const first = await yard.supervise();
    await yard.ask('DELETE', '/api/processes/a?save=true');
    expect(await yard.ended(first)).toBe(0);
    const path = yard.path('supervisor', '.saved.json');
    const torn = readFileSync(path, 'utf8').slice(0, 30);
    writeFileSync(path, torn);
    const second = await yard.supervise();
    await second.said('what was saved does not hold');
    await yard.up('a');
    expect(readFileSync(`${path}.damaged`, 'utf8')).toBe(torn);
    expect(await yard.ended(second)).toBe(0);
  });
});
