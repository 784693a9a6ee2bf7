/**
 * Ends a child whose supervisor has died, however that was: a thread of its own, which sees that even while the event
 * loop is blocked. The child is told to end, with all that it has started, and is killed when it has not.
 */
import { Worker as Thread } from 'node:worker_threads';

/** How often the thread looks; ms. */
const LOOK_EVERY = 500;

/**
 * From now on, until what it returns is called: when `master` is not the parent of this process any more, SIGTERM to its
 * process group, and SIGKILL when `patience` ms have passed. This process must lead its group. (Windows, not tested, keeps
 * the number of a dead parent, and has no groups: there a child notices only that its channel has closed.)
 */
export function watchMaster(master: number, patience: number): () => void {
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
  if (process.platform === 'win32') return () => undefined;
  const thread = new Thread(code, {
    eval: true,
    execArgv: [],
    env: {},
    workerData: { master, patience, every: LOOK_EVERY },
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 2 },
  });
  thread.unref();
  return () => void thread.terminate();
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
