/** A supervisor without processes, for what the API makes of what one says. It keeps to `supervisor/shape.ts`. */
import { QueueError } from '../../src/errors.ts';
import type { Json } from '../../src/message.ts';
import type {
  Answer,
  ChangeOptions,
  ChildState,
  ChildStatus,
  ProcessSpec,
  ProcessStatus,
  SendOptions,
  SupervisorControl,
  SupervisorEvent,
  SupervisorStatus,
} from '../../src/supervisor/shape.ts';

/** What is kept of the past. */
const KEPT = 500;

export function specOf(name: string, changes: Partial<ProcessSpec> = {}): ProcessSpec {
  return {
    name,
    kind: 'class',
    target: `/srv/app/${name}.ts`,
    args: [],
    params: { password: 'secret' },
    instances: 1,
    autoscale: undefined,
    queue: undefined,
    concurrency: undefined,
    autostart: true,
    stopDeadline: 1000,
    memoryLimit: undefined,
    recovery: {
      onFailure: [{ kind: 'restart' }, { kind: 'restart' }, { kind: 'restart' }],
      delay: 1,
      delayMax: 1,
      resetPeriod: 1,
      limit: 1,
    },
    ...changes,
  };
}

type Asked = { verb: string; target: string; options: ChangeOptions };

export class FakeSupervisor implements SupervisorControl {
  startedAt = new Date('2026-11-22T09:00:00Z');
  state: SupervisorStatus['state'] = 'running';
  /** What was asked of it, in order. */
  readonly asked: Asked[] = [];
  /** What children answer to a command. */
  answer: (child: string, command: string, args: Json, deadline: number) => Promise<Json> = async () => {
    throw new QueueError('UNKNOWN_COMMAND', 'no such command');
  };
  readonly #processes = new Map<string, { spec: ProcessSpec; children: ChildStatus[]; wanted: number }>();
  readonly #events: SupervisorEvent[] = [];
  readonly #listeners = new Set<(event: SupervisorEvent) => void>();
  #lastId = 0;

  constructor(...specs: ProcessSpec[]) {
    for (const spec of specs) this.#put(spec);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  tell(data: Json, process = 'cam', type: SupervisorEvent['type'] = 'told'): void {
    const event = { id: ++this.#lastId, at: new Date(), type, process, child: `${process}#1`, data };
    this.#events.push(event);
    if (this.#events.length > KEPT) this.#events.shift();
    for (const listener of this.#listeners) listener(event);
  }

  setChild(id: string, change: Partial<ChildStatus>): void {
    const entry = this.#processes.get(id.split('#')[0]!)!;
    entry.children = entry.children.map((child) => (child.id === id ? { ...child, ...change } : child));
  }

  status(): SupervisorStatus {
    const processes = [...this.#processes.values()].map((entry) => this.#view(entry));
    return { name: 'supervisor', pid: process.pid, startedAt: this.startedAt, state: this.state, processes };
  }

  async add(spec: ProcessSpec, options: ChangeOptions = {}): Promise<ProcessStatus> {
    this.#note('add', spec.name, options);
    if (this.#processes.has(spec.name))
      throw new QueueError('PROCESS_EXISTS', `there is a process ${spec.name} already`);
    return this.#view(this.#put(spec));
  }

  async remove(name: string, options: ChangeOptions = {}): Promise<void> {
    this.#entry(name);
    this.#note('remove', name, options);
    this.#processes.delete(name);
  }

  start(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#become(target, 'running', 'start', options);
  }

  stop(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#become(target, 'stopped', 'stop', options);
  }

  restart(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#become(target, 'running', 'restart', options);
  }

  reset(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#become(target, 'running', 'reset', options);
  }

  async scale(name: string, instances: number, options: ChangeOptions = {}): Promise<ProcessStatus> {
    const entry = this.#entry(name);
    this.#note('scale', name, options);
    entry.wanted = instances;
    entry.children = Array.from({ length: instances }, (_, index) => childOf(name, index + 1));
    return this.#view(entry);
  }

  async send(target: string, command: string, args: Json, options: SendOptions = {}): Promise<Json> {
    const [answer] = await this.collect(target, command, args, options);
    if (answer?.ok) return answer.result;
    throw new QueueError('COMMAND_FAILED', answer?.error.message ?? 'nobody');
  }

  /** Keeps the deadline for each child, as `collect` promises. */
  async collect(
    target: string,
    command: string,
    args: Json,
    { deadline = 5000 }: SendOptions = {},
  ): Promise<Answer[]> {
    return Promise.all(
      this.#entry(target).children.map(async ({ id: child }): Promise<Answer> => {
        let timer: NodeJS.Timeout | undefined;
        const late = new Promise<never>((_, reject) => {
          const error = new QueueError('COMMAND_TIMEOUT', `${child} did not answer within ${deadline} ms`);
          timer = setTimeout(() => reject(error), deadline);
        });
        try {
          return {
            child,
            ok: true,
            result: await Promise.race([this.answer(child, command, args, deadline), late]),
          };
        } catch (error) {
          const { code, message } = error as QueueError;
          return { child, ok: false, error: { code, message } };
        } finally {
          clearTimeout(timer);
        }
      }),
    );
  }

  broadcast(): void {
    // Nobody hears it.
  }

  onEvent(listener: (event: SupervisorEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  eventsSince(id: number): SupervisorEvent[] {
    return this.#events.filter((event) => event.id >= id);
  }

  async #become(target: string, state: ChildState, verb: string, options: ChangeOptions): Promise<void> {
    const entry = this.#entry(target);
    this.#note(verb, target, options);
    entry.children = entry.children.map((child) =>
      target.includes('#') && child.id !== target ? child : { ...child, state },
    );
  }

  #put(spec: ProcessSpec): { spec: ProcessSpec; children: ChildStatus[]; wanted: number } {
    const children = Array.from({ length: spec.instances }, (_, index) => childOf(spec.name, index + 1));
    const entry = { spec, children, wanted: spec.instances };
    this.#processes.set(spec.name, entry);
    return entry;
  }

  #view({
    spec,
    children,
    wanted,
  }: {
    spec: ProcessSpec;
    children: ChildStatus[];
    wanted: number;
  }): ProcessStatus {
    return { spec, origin: 'configured', wanted, children };
  }

  #entry(target: string): { spec: ProcessSpec; children: ChildStatus[]; wanted: number } {
    const entry = this.#processes.get(target.split('#')[0]!);
    if (entry && (!target.includes('#') || entry.children.some(({ id }) => id === target))) return entry;
    throw new QueueError('UNKNOWN_PROCESS', `there is no process ${target}`);
  }

  #note(verb: string, target: string, options: ChangeOptions): void {
    this.asked.push({ verb, target, options });
  }
}

function childOf(name: string, number: number): ChildStatus {
  return {
    id: `${name}#${number}`,
    state: 'running',
    pid: 4000 + number,
    startedAt: new Date('2026-11-22T09:00:01Z'),
    restarts: 0,
    failures: 0,
    lastEnd: undefined,
    nextStartAt: undefined,
    memory: 5e7,
    healthy: undefined,
  };
}
