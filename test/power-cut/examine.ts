/** What is found on a disk after its power was cut, by an engine that believes in a restart of the machine. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import type { Backend, Queue } from '../../src/backend.ts';
import { openCache, type CacheOptions } from '../../src/cache/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports, Processes } from '../../src/cache/ports.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { QueueError } from '../../src/errors.ts';
import type { Account, Found, Verdict } from './account.ts';
import { Q } from './actor.ts';
import { dataOf } from './notes.ts';

/** All claims of before are over by then, on a machine however busy. */
const PATIENCE_MS = 60_000;
/** How much faster time passes after the cut: the lease of a message that was being taken is a minute. */
const HASTE = 30;
/** Enough to go on to the next segment. */
const MORE = 150;

/** The ports of a machine that has been started again, and whose monotonic clock runs fast. */
function rebooted(): Ports {
  const { clock, processes } = nodePorts;
  const boot = randomUUID();
  return {
    ...nodePorts,
    clock: {
      ...clock,
      monotonic: () => Math.floor(performance.now() * HASTE),
      timer: (ms, run) => clock.timer(Math.ceil(ms / HASTE), run),
    },
    processes: Object.assign(Object.create(processes) as Processes, {
      self: () => ({ ...processes.self(), boot }),
    }),
  };
}

/** @param engine as that of the actors; its `cacheRoot` on the disk that was cut. */
export async function examine(account: Account, engine: CacheOptions): Promise<Verdict> {
  const ports = rebooted();
  const broken: string[] = [];
  const verify = async (queue: string, when: string): Promise<void> => {
    const { sound, damage } = await verifyQueue(join(engine.cacheRoot, queue), ports);
    if (sound) return;
    const [first] = damage.filter(({ kind }) => kind !== 'torn' && kind !== 'index');
    broken.push(`${queue} is not sound ${when}: ${JSON.stringify(first)}`);
  };
  await verify(Q, 'as it was left');
  const backend = await openCache({ ...engine, ports });
  try {
    const verdict = account.judge(await findAll(await backend.open(Q)));
    broken.push(...verdict.broken, ...(await goOn(backend, verdict)));
    broken.push(...(await bornAndDead(account, backend, (queue) => verify(queue, 'as it was left'))));
    const error = backend.lastError();
    if (error) broken.push(reported(error));
    await backend.close();
    await verify(Q, 'after it was used again');
    return { ...verdict, broken };
  } catch (error) {
    return { ...account.judge([]), broken: [...broken, reported(damageOf(error))] };
  } finally {
    await backend.close();
  }
}

async function findAll(queue: Queue): Promise<Found[]> {
  const found: Found[] = [];
  for await (const { data } of queue.find({})) found.push(checked(data));
  return found;
}

function checked(data: unknown): Found {
  const { id, version } = data as Found;
  if (JSON.stringify(data) !== JSON.stringify(dataOf(id, version)))
    throw new Error(`data that nobody has written: ${JSON.stringify(data)}`);
  return { id, version };
}

/** What was claimed comes back, all of it comes out in its order, and the queue can be used as before. */
async function goOn(backend: Backend, { broken }: Verdict): Promise<string[]> {
  const queue = await backend.open(Q);
  const wrong: string[] = [];
  const order = async (): Promise<string[]> => (await findAll(queue)).map(({ id }) => id);
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const { counts } = await queue.status();
    if (counts.claimed === 0 && counts.deferred === 0) break;
    if (performance.now() > deadline) return [`claims do not come back: ${JSON.stringify(counts)}`];
    await queue.wait(50, undefined);
    await sleep(10);
  }
  const before = await order();
  const more = Array.from({ length: MORE }, (_, n) => dataOf(`later.${n}`, 0));
  await queue.add(
    more.map((data) => ({
      json: JSON.stringify(data),
      alias: '',
      retries: 0,
      disabled: false,
      username: '',
    })),
  );
  const expected = [...before, ...more.map(({ id }) => id)];
  const drained: string[] = [];
  for (;;) {
    const claims = await queue.claim(20, 60_000);
    if (claims.length === 0) break;
    drained.push(...claims.map(({ data }) => checked(data).id));
    for (const claim of claims)
      if (!(await queue.settle(claim, { type: 'complete' }))) wrong.push('a settle was refused');
  }
  if (broken.length === 0 && JSON.stringify(drained) !== JSON.stringify(expected))
    wrong.push(`claimed in another order than found: ${drained.join(' ')}, expected ${expected.join(' ')}`);
  const { counts, damaged } = await queue.status();
  if (Object.values(counts).some((count) => count > 0)) wrong.push(`left over: ${JSON.stringify(counts)}`);
  if (damaged > 0) wrong.push(`${damaged} damaged places are counted`);
  return wrong;
}

async function bornAndDead(
  account: Account,
  backend: Backend,
  verify: (queue: string) => Promise<void>,
): Promise<string[]> {
  const wrong: string[] = [];
  const { there, gone } = account.queues();
  const listed = await backend.list();
  for (const queue of there)
    if (!listed.includes(queue)) wrong.push(`the queue ${queue} is lost after it was created`);
  for (const queue of gone)
    if (listed.includes(queue)) wrong.push(`the queue ${queue} is back after it was destroyed`);
  for (const queue of listed.filter((name) => name !== Q)) {
    await verify(queue);
    await backend.open(queue).then(
      (opened) => opened.close(),
      (error: unknown) => wrong.push(`${queue}: ${reported(damageOf(error))}`),
    );
  }
  return wrong;
}

/** Throws what is another error. */
function damageOf(error: unknown): QueueError {
  if (error instanceof QueueError && error.code === 'JOURNAL_CORRUPT') return error;
  throw error;
}

function reported({ message }: QueueError): string {
  return `a power cut is reported as damage: ${message}`;
}
