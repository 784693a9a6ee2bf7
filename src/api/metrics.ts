/** What Prometheus reads: numbers about the queues, the children and the supervisor itself, in its text format, version 0.0.4. */
import type { QueueStatus } from '../backend.ts';
import type { QueueManager } from '../queue-manager.ts';
import type { ChildState, SupervisorStatus } from '../supervisor/shape.ts';
import { ownMemory } from '../worker/crew/evidence.ts';
import { readQueues } from './views.ts';
import type { Context } from './route.ts';

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

const CHILD_STATES: readonly ChildState[] = [
  'stopped',
  'starting',
  'running',
  'stopping',
  'waiting',
  'failed',
];

type Labels = Readonly<Record<string, string>>;

/** Resolves with all of it as text. Costs a look at each queue. */
export async function metricsOf({ control, queues }: Context): Promise<string> {
  const text = new Exposition();
  addSupervisor(text, control.status());
  addProcess(text);
  for (const view of await readQueues(queues)) {
    const labels = { queue: view.queue };
    text.add(
      'coda_queue_readable',
      'gauge',
      'Whether the queue can be read.',
      'error' in view ? 0 : 1,
      labels,
    );
    if (!('error' in view)) await addQueue(text, view, queues);
  }
  return text.toString();
}

function addSupervisor(text: Exposition, { startedAt, state, processes }: SupervisorStatus): void {
  text.add(
    'coda_supervisor_up',
    'gauge',
    'Whether the supervisor runs, and is not about to end.',
    state === 'running' ? 1 : 0,
  );
  text.add('coda_supervisor_start_time_seconds', 'gauge', 'When it was started.', startedAt.getTime() / 1000);
  for (const { spec, wanted, children } of processes) {
    const process = spec.name;
    text.add('coda_process_children_wanted', 'gauge', 'How many children there should be.', wanted, {
      process,
    });
    for (const state of CHILD_STATES) {
      const count = children.filter((child) => child.state === state).length;
      text.add('coda_process_children', 'gauge', 'Children by state.', count, { process, state });
    }
    for (const child of children) {
      const labels = { process, child: child.id };
      text.add(
        'coda_child_up',
        'gauge',
        'Whether the child runs.',
        child.state === 'running' ? 1 : 0,
        labels,
      );
      text.add('coda_child_restarts_total', 'counter', 'Starts after a failure.', child.restarts, labels);
      text.add('coda_child_failures', 'gauge', 'How often it has failed lately.', child.failures, labels);
      text.add(
        'coda_child_memory_bytes',
        'gauge',
        'Resident memory, when last looked at.',
        child.memory,
        labels,
      );
      const healthy = child.healthy === undefined ? undefined : Number(child.healthy);
      text.add('coda_child_healthy', 'gauge', 'What its health check said last.', healthy, labels);
    }
  }
}

/** Under the names that Prometheus's own clients use. */
function addProcess(text: Exposition): void {
  const { user, system } = process.cpuUsage();
  text.add(
    'process_cpu_seconds_total',
    'counter',
    'Time on the processor, of the supervisor itself.',
    (user + system) / 1e6,
  );
  const memory = ownMemory();
  if (memory !== undefined) {
    text.add('process_resident_memory_bytes', 'gauge', 'Resident memory of the supervisor itself.', memory);
  }
  text.add(
    'process_start_time_seconds',
    'gauge',
    'When its process began.',
    Date.now() / 1000 - process.uptime(),
  );
}

async function addQueue(text: Exposition, status: QueueStatus, queues: QueueManager): Promise<void> {
  const { queue, counts, processed, paused, damaged } = status;
  for (const [state, count] of Object.entries(counts))
    text.add('coda_queue_messages', 'gauge', 'Messages by state.', count, { queue, state });
  text.add('coda_queue_processed_total', 'counter', 'Messages completed or taken, ever.', processed, {
    queue,
  });
  text.add('coda_queue_paused', 'gauge', 'Whether nothing is claimed.', paused ? 1 : 0, { queue });
  text.add('coda_queue_damaged_records', 'gauge', 'Damaged records met so far.', damaged, { queue });
  const age = counts.ready === 0 ? 0 : await oldestAge(queues, queue);
  text.add('coda_queue_oldest_ready_seconds', 'gauge', 'How long ago the first in line was added.', age, {
    queue,
  });
}

async function oldestAge(queues: QueueManager, queue: string): Promise<number | undefined> {
  try {
    for await (const { insertedAt } of queues.findMessages(queue, { state: 'ready', disabled: false }))
      return Math.max(0, Date.now() - insertedAt.getTime()) / 1000;
    return 0;
  } catch {
    // Destroyed since, or damaged: what is wrong with it, its status says.
    return undefined;
  }
}

/** Samples gathered by name: the format wants all of a name together, below its one description. */
class Exposition {
  readonly #metrics = new Map<string, string[]>();

  /** @param value undefined: not known, and so left out. */
  add(
    name: string,
    type: 'gauge' | 'counter',
    help: string,
    value: number | undefined,
    labels: Labels = {},
  ): void {
    if (value === undefined) return;
    const lines = this.#metrics.get(name) ?? [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
    this.#metrics.set(name, lines);
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
    lines.push(`${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}`);
  }

  toString(): string {
    return [...this.#metrics.values()].map((lines) => `${lines.join('\n')}\n`).join('');
  }
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
