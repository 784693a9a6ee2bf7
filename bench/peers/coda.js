// An adapter for a benchmark of job queues against each other; the harness itself is not part of this project. It goes
// into the harness's adapters/ folder. The build that is measured is the one that CODA_DIST names (the path of dist/),
// else the package coda-queue as installed there.
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const QUEUE = 'jobs';
/** What the harness calls them. They find the queue made. */
const WORKERS = new Set(['drain', 'consume', 'listen', 'first']);

const make = (name, durability, survives) => ({
  name,
  kind: 'file',
  durability: survives,
  bulkChunk: 1000,
  best: 128,
  window: 32,
  async open(ctx) {
    const dist = process.env.CODA_DIST;
    const load = (file) => import(pathToFileURL(path.join(dist, file)).href);
    const { QueueManager } = dist ? await load('src/index.js') : await import('coda-queue');
    const manager = await QueueManager.open({ cacheRoot: path.join(ctx.dir, 'queues'), durability });
    if (!WORKERS.has(ctx.role)) await manager.createQueue(QUEUE);
    return {
      addOne: (data) => manager.addMessage(QUEUE, { data }),
      addBulk: (payloads) =>
        manager.addMessages(
          QUEUE,
          payloads.map((data) => ({ data })),
        ),
      async work({ concurrency, onJob, onAck }) {
        const stop = new AbortController();
        const working = workerLoop({ manager, concurrency, onJob, onAck, signal: stop.signal });
        return {
          async stop() {
            stop.abort();
            await working;
          },
        };
      },
      async pending() {
        return (await manager.queueStatus(QUEUE)).messagesToProcess;
      },
      close: () => manager.close(),
    };
  },
});

export default [
  make('coda', 'always', 'power loss: yes (fdatasync before each answer, shared by concurrent callers)'),
  make('coda-os', 'os', 'process crash: yes; power loss: the last seconds may go'),
];

/** By the public methods alone: `concurrency` handlers at most, the ends of some sent together with the next claim. */
async function workerLoop({ manager, concurrency, onJob, onAck, signal }) {
  let running = 0;
  const failed = new AbortController();
  let freed = () => {};
  const handle = async (claim) => {
    await onJob(claim.data);
    running--;
    freed();
    if (await manager.completeMessage(QUEUE, claim)) onAck();
  };
  const fail = (error) => {
    failed.abort(error);
    freed();
  };
  while (!signal.aborted && !failed.signal.aborted) {
    if (running === concurrency) {
      await new Promise((resolve) => (freed = () => process.nextTick(resolve)));
      freed = () => {};
      continue;
    }
    const claims = await manager.claimMessages(QUEUE, { limit: concurrency - running });
    running += claims.length;
    for (const claim of claims) handle(claim).catch(fail);
    if (claims.length === 0 && running === 0) await manager.waitForMessage(QUEUE, { signal });
    else if (claims.length === 0) await new Promise((resolve) => (freed = () => process.nextTick(resolve)));
  }
  failed.signal.throwIfAborted();
}
