/** How a client comes to its queue. */
import type { Backend, Queue } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import { Q, ROOT, sleep, SYNC_INTERVAL, unlessLost, type Env } from './env.ts';

/** How many ended messages a queue remembers. */
export const KEPT_OUTCOMES = 3;
/** How often a queue that cannot be opened is tried again. */
const TRIES = 50;
/** How often it is tried before it is made, by who leaves that to another: that one may have died. */
const PATIENCE = 45;

export async function open(env: Env): Promise<Backend> {
  for (;;) {
    try {
      const backend = await openRoot(env);
      env.rot.opened(env.process, env.ports, backend);
      return backend;
    } catch (error) {
      env.judge(error, 'open');
      await sleep(env, 1);
    }
  }
}

function openRoot({ ports, durability, segmentBytes }: Env): Promise<Backend> {
  return openCache({
    cacheRoot: ROOT,
    durability,
    syncInterval: SYNC_INTERVAL,
    fileMode: 0o600,
    keepOutcomes: KEPT_OUTCOMES,
    crashLimit: 1000,
    segmentBytes,
    ports,
  });
}

/** Opens the queue, which another may be destroying; creates it where there is none, unless it takes its chance first. */
export async function openQueue(env: Env, backend: Backend): Promise<Queue> {
  const { witness } = env;
  const bold = env.waits ? PATIENCE : env.choices.pick([0, 0, 3, 30]);
  for (let attempt = 0; ; attempt++) {
    const since = witness.tick();
    try {
      if (attempt >= bold) await create(env, backend);
      return await backend.open(Q);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === 'QUEUE_NOT_FOUND') witness.notFound(since);
      if (code !== 'QUEUE_NOT_FOUND' || attempt >= bold) env.judge(error, 'open');
      // What has rotted stays so.
      if (attempt === TRIES) env.leave();
      await sleep(env, 1);
    }
  }
}

async function create({ witness, process, options, met }: Env, backend: Backend): Promise<void> {
  const call = witness.creating(process);
  const anew = await unlessLost(witness, call, backend.create(Q, options));
  witness.created(call, anew);
  if (anew) met('created');
}
