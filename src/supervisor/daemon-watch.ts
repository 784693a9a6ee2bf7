/**
 * Looks after children that are daemons, as `queue-daemon verify --revive` does: one that hangs still lives, so its process tells
 * nothing of that, but its state does. It is killed, which is a failure like any other, and its recovery says what follows.
 */
import { crashDaemon } from '../daemon/control.ts';
import { judge } from '../daemon/verify.ts';
import { escapeControls } from '../errors.ts';
import type { Log } from '../worker/log.ts';
import type { ProcessStatus, SupervisorControl } from './shape.ts';

export class DaemonWatch {
  readonly #control: Pick<SupervisorControl, 'status'>;
  readonly #log: Log;
  /** Children that were sick when they were last looked at, by id and pid: their machine may have stood still. */
  #sick = new Set<string>();

  constructor(control: Pick<SupervisorControl, 'status'>, log: Log) {
    this.#control = control;
    this.#log = log;
  }

  /**
   * Kills those that were sick at two looks in a row. To be called every few seconds; resolves when all are looked at.
   * Never rejects.
   */
  async look(stateDir: string): Promise<void> {
    const daemons = this.#control.status().processes.filter(({ spec }) => spec.kind === 'daemon');
    const sick = await Promise.all(daemons.map((process) => this.#look(process, stateDir)));
    this.#sick = new Set(sick.filter((key) => key !== undefined));
  }

  /** Resolves with the key of one that is sick for the first time. */
  async #look({ spec, children }: ProcessStatus, stateDir: string): Promise<string | undefined> {
    const child = children.find(({ state }) => state === 'running');
    if (!child) return undefined;
    const key = `${child.id} ${child.pid}`;
    try {
      const { standing, reason, holder } = await judge(stateDir, spec.target);
      const isSick = standing === 'stalled' || standing === 'unhealthy';
      // Another process may have the place of a daemon whose files were removed.
      if (!isSick || holder?.who.pid !== child.pid) return undefined;
      if (!this.#sick.has(key)) return key;
      const why = reason === '' ? '' : `: ${escapeControls(reason)}`;
      this.#log.error(`${child.id}: daemon ${spec.target} is ${standing}${why}; it is killed`);
      await crashDaemon(stateDir, spec.target);
    } catch (error) {
      this.#log.warn(`${child.id} cannot be looked after: ${escapeControls((error as Error).message)}`);
    }
    return undefined;
  }
}
