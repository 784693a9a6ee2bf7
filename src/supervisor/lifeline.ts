/**
 * Ends a child whose supervisor has died, however that was, with all that the child has started. A thread of its own sees
 * that even while the event loop is blocked.
 */
import { Worker as Thread } from 'node:worker_threads';

/** How often the thread looks; ms. */
const LOOK_EVERY = 500;

/**
 * From now on: when `master` is not the parent of this process any more, SIGTERM to its process group, and SIGKILL when
 * `patience` ms have passed, or this process has ended before. It must lead its group. Returns what tells that the
 * master is gone, for who knows first. (Windows, not tested, keeps the number of a dead parent, and has no groups: there a child
 * notices only that its channel has closed.)
 */
export function watchMaster(master: number, patience: number): () => void {
  if (process.platform === 'win32') return () => undefined;
  const code = `
    const { master, patience, every } = require('node:worker_threads').workerData;
    const end = (signal) => {
      try { process.kill(-process.pid, signal); } catch { process.kill(process.pid, signal); }
    };
    let left = patience;
    let told = false;
    setInterval(() => {
      if (process.ppid === master) return;
      if (!told) end('SIGTERM');
      told = true;
      if ((left -= every) < 0) end('SIGKILL');
    }, every);`;
  const thread = new Thread(code, {
    eval: true,
    execArgv: [],
    env: {},
    workerData: { master, patience, every: LOOK_EVERY },
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 2 },
  });
  thread.unref();
  let isGone = false;
  process.on('exit', () => {
    // Nobody else is left to end what this process leaves behind.
    if (isGone || process.ppid !== master) process.kill(-process.pid, 'SIGKILL');
  });
  return () => {
    isGone = true;
    process.kill(-process.pid, 'SIGTERM');
  };
}

/** How a child that runs another program is told whom to watch: an environment variable, taken out again before it could pass it on. */
const LIFELINE = 'QUEUE_DAEMON_LIFELINE';

export function lifelineOf(master: number, patience: number): Record<string, string> {
  return { [LIFELINE]: `${master}:${patience}` };
}

/** Undefined of a process that is no such child. */
export function takeLifeline(env: NodeJS.ProcessEnv): { master: number; patience: number } | undefined {
  const [, master, patience] = /^(\d+):(\d+)$/.exec(env[LIFELINE] ?? '') ?? [];
  delete env[LIFELINE];
  return master === undefined ? undefined : { master: Number(master), patience: Number(patience) };
}
