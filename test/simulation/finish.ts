/** What the last client does. */
import type { Backend, Queue } from '../../src/backend.ts';
import { planRepair } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Claim, Message } from '../../src/message.ts';
import { all, fillsSegments, numberOf, Q, ROOT, segmentsIn, type Env } from './env.ts';
import { KEPT_OUTCOMES, open, openQueue } from './opening.ts';

const FOLDER = `${ROOT}/${Q}`;
/** More than most segments of a run, and four times most heads. */
const FILLING = 16 * 1024;
/** After so many changes to the next segment nothing is kept for what was there before. */
const CHANGES = 3;

/** When all is over: one process, and no faults. Everything that is in the queue is worked off, in order. */
export async function finish(env: Env): Promise<void> {
  const { witness, claims, audit } = env;
  const backend = await open(env);
  const queue = await openWhole(env, backend);
  const since = witness.tick();
  const found = await all(queue.find({}));
  env.say(`found ${found.map(numberOf).join(' ')}`);
  witness.found(found, since);
  audit.ended(found, await queue.status());
  audit.verified(await verifyQueue(FOLDER, env.readOnly), found.length);
  audit.planned(await planRepair(FOLDER, { keepOutcomes: KEPT_OUTCOMES, ports: env.readOnly }));
  claims.freeing(found);
  await queue.change({ type: 'resume' });
  await queue.change({ type: 'retry', uuids: 'all' });
  for (const { uuid, disabled, dateTimeDeferredExecution } of found) {
    if (disabled || dateTimeDeferredExecution) await queue.update(uuid, { disabled: false, due: null });
  }
  await drain(env, queue, found);
  const damaged = await damageTold(env, backend, queue);
  if (fillsSegments(env)) {
    for (let i = 0; i < CHANGES; i++) await fillSegment(env, queue);
    env.met('filled at the end');
    if (damaged > 0) await checkRemembered(env, backend, damaged);
  }
  await backend.close();
}

/** How many places are damaged, as its client is told. */
async function damageTold({ rot, ports }: Env, backend: Backend, queue: Queue): Promise<number> {
  const { damaged } = await queue.status();
  const newest = segmentsIn(ports.fs.list(FOLDER)).at(-1)!;
  rot.told(`${FOLDER}/${newest}`, damaged, backend.lastError());
  return damaged;
}

/** Whether one who comes later is told of no less. */
async function checkRemembered(env: Env, backend: Backend, damaged: number): Promise<void> {
  const later = await openQueue(env, backend);
  env.rot.toldLater(damaged, (await later.status()).damaged);
  env.met('damage remembered');
}

/** A record that lacks nothing but its newline counts from the next write on; it may be the end of the queue. */
async function openWhole(env: Env, backend: Backend): Promise<Queue> {
  const queue = await openQueue(env, backend);
  try {
    await queue.change({ type: 'attributes', patch: {} });
    return queue;
  } catch (error) {
    const isDestroyed = (error as { code?: string }).code === 'QUEUE_DESTROYED';
    if (!isDestroyed || !env.weights.some(([step]) => step === 'destroy')) throw error;
    await queue.close();
    return openQueue(env, backend);
  }
}

/** A change to the next segment, with which the reserve is made again, and what is spent goes. */
async function fillSegment({ ports }: Env, queue: Queue): Promise<void> {
  const newest = (): string | undefined => segmentsIn(ports.fs.list(FOLDER)).at(-1);
  const json = JSON.stringify('x'.repeat(FILLING));
  for (const before = newest(); newest() === before;) {
    await queue.add([{ json, alias: '', retries: 0, disabled: false, username: '' }]);
    await queue.change({ type: 'purge' });
  }
}

async function drain(env: Env, queue: Queue, found: readonly Message[]): Promise<void> {
  const { claims: known, audit } = env;
  const drained: Claim[] = [];
  const goal = found.length;
  while (drained.length < goal) {
    const call = known.claiming(env.process);
    const claims = await queue.claim(4, 60_000);
    known.claimed(call, claims, env.time(), 60_000);
    // Claims of processes that are no more are over when their lease is.
    if (claims.length === 0 && !(await queue.wait(200_000, undefined))) break;
    for (const one of claims) {
      await queue.settle(one, { type: 'complete' });
    }
    drained.push(...claims);
  }
  audit.drained(found, drained, await queue.status());
}
