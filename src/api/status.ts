/** All there is to be seen of a supervisor: itself, its children with what they say of themselves, and the queues. */
import type { Answer, ProcessStatus } from '../supervisor/shape.ts';
import type { Context } from './route.ts';
import { masterView, processView, readQueues } from './views.ts';

/** Milliseconds that a child may take to say how it stands; it is asked for by people who wait. */
const PATIENCE = 2000;

/** Answers all who ask at the same time from one look: a hundred askers cost the children no more than one. */
export class StatusReader {
  readonly #context: Context;
  #looking: Promise<object> | undefined;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Resolves within the deadline for children, whatever they do, and the time it takes to read the queues. */
  read(): Promise<object> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #look(): Promise<object> {
    const { control, queues } = this.#context;
    const { processes } = control.status();
    const [answers, views] = await Promise.all([this.#ask(processes), readQueues(queues)]);
    // As they stand by now: who was asked may have ended meanwhile.
    const status = control.status();
    return {
      master: masterView(status),
      processes: status.processes.map((process) => processView(process, answers)),
      queues: views,
    };
  }

  /** What the children of classes answer to `status`, by child. A class without `commandStatus` has nothing to say. */
  async #ask(processes: readonly ProcessStatus[]): Promise<ReadonlyMap<string, Answer>> {
    const asked = processes.filter(({ spec, children }) => spec.kind === 'class' && children.some(isUp));
    const answers = await Promise.all(
      asked.map(({ spec }) =>
        this.#context.control
          .collect(spec.name, 'status', {}, { deadline: PATIENCE })
          .catch((error: unknown) => {
            // The process was removed meanwhile.
            this.#context.log.debug(`no status of ${spec.name}: ${String(error)}`);
            return [];
          }),
      ),
    );
    const up = new Set(asked.flatMap(({ children }) => children.filter(isUp).map(({ id }) => id)));
    const told = answers
      .flat()
      .filter((answer) => up.has(answer.child) && (answer.ok || answer.error.code !== 'UNKNOWN_COMMAND'));
    return new Map(told.map((answer) => [answer.child, answer]));
  }
}

function isUp({ state }: { state: string }): boolean {
  return state === 'running' || state === 'starting' || state === 'stopping';
}
