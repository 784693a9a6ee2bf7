/** A daemon that ships: has the queues drained that [daemon] queues names, each by worker processes of its own. */
import { fileURLToPath } from 'node:url';
import { Daemon, QueueError, QueueManager, type DaemonStop } from 'coda-queue';
import type { Config } from '../src/config.ts';
import { Crews } from '../src/daemon/crews.ts';
import { openOptionsOf } from '../src/manager-options.ts';
import type { DrainedQueue } from '../src/queue-list.ts';
import type { Command } from '../src/worker/crew/child.ts';
import { findWorker } from '../src/worker/loader.ts';
import { sinkOf } from '../src/worker/log.ts';

/** In dist/: what runs workers runs there. */
const QUEUE_WORKER = fileURLToPath(new URL('../bin/queue-worker.js', import.meta.url));

export default class QueueDaemon extends Daemon {
  #crews: Crews | undefined;
  #manager: QueueManager | undefined;

  /** Errors: CONFIG_INVALID: no queue is named, or the worker of one is not there. */
  override async onStart(): Promise<void> {
    const { config } = this;
    await check(config);
    this.#manager = await QueueManager.open(openOptionsOf(config));
    this.#crews = new Crews({
      config,
      queues: this.#manager,
      command: (queue) => commandOf(queue, config),
      sink: sinkOf(this.log),
    });
    this.#crews.start();
  }

  override onReload(next: Config): Promise<void> {
    return check(next);
  }

  /** Queues that are not being drained, as the worker of one type is sick. */
  override troubles(): string[] {
    return this.#crews?.troubles ?? [];
  }

  override executeStart(): void {
    this.#crews?.check();
  }

  override async executeStop({ signal }: DaemonStop): Promise<void> {
    await this.#crews?.stop(signal);
    await this.#manager?.close();
  }
}

async function check({ daemon, worker, file }: Config): Promise<void> {
  const where = file === undefined ? {} : { path: file };
  if (daemon.queues.length === 0) {
    const message = '[daemon] queues: expected the queues to drain, such as anpr, mails:4; received none';
    throw new QueueError('CONFIG_INVALID', message, where);
  }
  for (const { type } of daemon.queues) {
    try {
      await findWorker(type, worker.workersDir);
    } catch (cause) {
      const message = `[daemon] queues: ${(cause as Error).message}`;
      throw new QueueError('CONFIG_INVALID', message, { ...where, cause });
    }
  }
}

/** A process of queue-worker: its parent is the daemon, as it would be `queue-worker --processes`. */
function commandOf(queue: DrainedQueue, config: Config): Command {
  const args = [
    ...process.execArgv,
    QUEUE_WORKER,
    queue.type,
    `--queue=${queue.queue}`,
    `--concurrency=${queue.concurrency ?? config.worker.concurrency}`,
  ];
  return { file: process.execPath, args, env: process.env };
}
