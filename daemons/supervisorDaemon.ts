/**
 * A daemon that ships: runs the processes that the sections [process:NAME] name, in children of their own, and what belongs to
 * that: changes that were saved, the control API, and a look at children that are daemons. Its reload touches only what has changed.
 */
import { join } from 'node:path';
import * as library from 'coda-queue';
import { Daemon, QueueError, QueueManager, type DaemonContext, type DaemonStop } from 'coda-queue';
import { startApi, type Api } from '../src/api/start.ts';
import type { Config } from '../src/config.ts';
import { escapeControls, quote } from '../src/errors.ts';
import { openOptionsOf } from '../src/manager-options.ts';
import { canonical } from '../src/supervisor/changes.ts';
import { DaemonWatch } from '../src/supervisor/daemon-watch.ts';
import { SavedChanges } from '../src/supervisor/saved.ts';
import type { ChildStatus, ProcessSpec, SupervisorControl } from '../src/supervisor/shape.ts';
import { configuredProcesses } from '../src/supervisor/spec.ts';
import { Supervisor } from '../src/supervisor/supervisor.ts';
import type { Log } from '../src/worker/log.ts';

export default class SupervisorDaemon extends Daemon {
  readonly #stop = new AbortController();
  /** Fires when children that have not ended are to be killed. */
  readonly #force = new AbortController();
  #supervisor: Supervisor | undefined;
  #saved: SavedChanges | undefined;
  #watch: DaemonWatch | undefined;
  #services: Services | undefined;
  /** Resolves when no child is left. */
  #running: Promise<void> = Promise.resolve();
  /** Resolves when the configuration that was read last has been put in force. Never rejects. */
  #applied: Promise<void> = Promise.resolve();
  /** Resolves when no reload is under way. Never rejects. */
  #reloading: Promise<void> = Promise.resolve();

  /** Errors: CONFIG_INVALID: a section is wrong; API_FAILED; those of `Supervisor.run`. */
  override async onStart(): Promise<void> {
    const { name, config, log } = this;
    const configured = configuredProcesses(config);
    const { stateDir } = config.daemon;
    const saved = new SavedChanges({
      path: join(stateDir, `${name}.saved.json`),
      config,
      onTrouble: (why) => log.warn(why),
    });
    const { promise: up, resolve: onUp } = deferred();
    const supervisor = new Supervisor({ name, config, stateDir, log }, { saved, onUp });
    const running = supervisor.run(this.#stop.signal, this.#force.signal);
    await Promise.race([up, running]);
    try {
      this.#services = await openServices(supervisor, config, log);
    } catch (error) {
      this.#stop.abort();
      await running;
      throw error;
    }
    this.#supervisor = supervisor;
    this.#running = running;
    this.#saved = saved;
    this.#watch = new DaemonWatch(supervisor, log);
    this.#apply(supervisor, saved, configured, config);
  }

  /**
   * Resolves when what has changed begins to be put in force; children that are started anew take turns, which may last.
   * Errors: CONFIG_INVALID: the file is gone, a section is wrong, or has the name of a process that was added meanwhile; API_FAILED.
   * Everything stays as it was.
   */
  override async onReload(next: Config): Promise<boolean> {
    const reloading = this.#reload(next);
    this.#reloading = reloading.then(noop, noop);
    await reloading;
    return true;
  }

  override async executeStart(_: DaemonContext): Promise<void> {
    await this.#watch?.look(this.config.daemon.stateDir);
  }

  override async executeStop({ signal }: DaemonStop): Promise<void> {
    this.#stop.abort();
    const force = (): void => this.#force.abort();
    if (signal.aborted) force();
    else signal.addEventListener('abort', force, { once: true });
    // Until then it can be asked what is still there.
    await Promise.all([this.#running, this.#applied, this.#reloading]);
    if (this.#services) await closeServices(this.#services);
  }

  /** It is as well as it is able to answer: a child that is down is a trouble of its own. */
  override verify(): boolean {
    const state = this.#supervisor?.status().state;
    return state === 'running' || state === 'starting';
  }

  override troubles(): string[] {
    const processes = this.#supervisor?.status().processes ?? [];
    return processes.flatMap(({ children }) => children).flatMap(troubleOf);
  }

  async #reload(next: Config): Promise<void> {
    refuseLoss(this.config, next);
    const configured = configuredProcesses(next);
    // Only then does what runs go by the configuration before.
    await this.#applied;
    const supervisor = this.#supervisor;
    const saved = this.#saved;
    if (!supervisor || !saved || this.#stop.signal.aborted)
      throw new QueueError('CLOSED', 'the supervisor is being stopped');
    refuseAdded(configured, supervisor, next);
    await this.#renewServices(supervisor, next);
    this.#services?.api.use(next);
    this.#apply(supervisor, saved, configured, next);
  }

  /** Has the supervisor go by it; what goes wrong with single children is logged. */
  #apply(
    supervisor: Supervisor,
    saved: SavedChanges,
    configured: readonly ProcessSpec[],
    config: Config,
  ): void {
    this.#applied = (async () => {
      try {
        await supervisor.apply(saved.over(configured), config);
      } catch (error) {
        const { message, code } = error as Partial<QueueError> & Error;
        // It is being stopped.
        if (code !== 'CLOSED') this.log.error(`not all is as configured: ${escapeControls(message)}`);
      }
    })();
  }

  /** Errors: those of opening them, with the ones before in force again. */
  async #renewServices(supervisor: Supervisor, next: Config): Promise<void> {
    const before = this.#services;
    const usedBy = (config: Config): unknown => [openOptionsOf(config), config.api, config.daemon];
    if (!before || canonical(usedBy(this.config)) === canonical(usedBy(next))) return;
    // Both would want the same socket.
    await closeServices(before);
    try {
      this.#services = await openServices(supervisor, next, this.log);
    } catch (error) {
      this.#services = await openServices(supervisor, this.config, this.log);
      throw error;
    }
  }
}

/** What goes by the configuration besides children. */
interface Services {
  readonly queues: QueueManager;
  readonly api: Api;
}

async function openServices(control: SupervisorControl, config: Config, log: Log): Promise<Services> {
  const queues = await QueueManager.open(openOptionsOf(config));
  try {
    return { queues, api: await startApi({ control, queues, config, log, library }) };
  } catch (error) {
    await queues.close();
    throw error;
  }
}

async function closeServices({ queues, api }: Services): Promise<void> {
  await api.close();
  await queues.close();
}

/**
 * Without its file a program has the defaults, in which there are no processes: who begins without one means that, who moves it
 * away meanwhile hardly means that all is to be stopped. Errors: CONFIG_INVALID.
 */
function refuseLoss({ file }: Config, next: Config): void {
  if (file === undefined || next.file !== undefined) return;
  throw new QueueError(
    'CONFIG_INVALID',
    `expected the configuration at ${quote(file, 300)}, found none; put it back, or stop this supervisor if nothing is to run`,
    { path: file },
  );
}

/** Somebody has added it for the time being; which of the two is meant, only a person can say. Errors: CONFIG_INVALID. */
function refuseAdded(configured: readonly ProcessSpec[], supervisor: Supervisor, { file }: Config): void {
  const { processes } = supervisor.status();
  const added = new Set(processes.filter(({ origin }) => origin === 'added').map(({ spec }) => spec.name));
  const twin = configured.find(({ name }) => added.has(name));
  if (!twin) return;
  throw new QueueError(
    'CONFIG_INVALID',
    `[process:${twin.name}]: expected a name of its own, received that of a process that was added meanwhile; remove that first`,
    file === undefined ? {} : { path: file },
  );
}

function troubleOf({ id, state, lastEnd, healthy, nextStartAt }: ChildStatus): string[] {
  const why = lastEnd ? `: ${lastEnd.why}` : '';
  if (state === 'failed') return [`${id} has failed${why}`];
  if (state === 'waiting') return [`${id} starts again at ${nextStartAt?.toISOString() ?? ''}${why}`];
  return healthy === false ? [`${id} is not well`] : [];
}

function noop(): void {}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}
