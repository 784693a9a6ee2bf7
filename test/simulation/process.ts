/** A simulated process: a realm with an event loop, in a container. */
import type { Realm } from './realm.ts';

/** What stops a process that has been killed, or whose machine has no power. */
export class Killed extends Error {
  readonly code = 'EKILLED';
}

interface Task {
  due: number;
  run: () => void;
  watch: boolean;
}

/** A container: processes of one see each other. Clocks of containers may begin at different times. */
export interface Container {
  pidNamespace: string;
  timeNamespace: string;
  /** Of its monotonic clock, in milliseconds. */
  offset: number;
}

export class Process {
  readonly name: string;
  readonly pid: number;
  readonly start: string;
  readonly container: Container;
  /** Whether others may not read about it in /proc. */
  readonly hidden: boolean;
  readonly realm: Realm;
  alive = true;
  /** It stands in the middle of a task: somewhere on the stack. */
  busy = false;
  /** It has been stopped until then. */
  stoppedUntil = 0;
  readonly tasks: Task[] = [];
  readonly handles = new Set<number>();
  onDeath: (() => void) | undefined;

  constructor(of: Pick<Process, 'name' | 'pid' | 'start' | 'container' | 'hidden' | 'realm'>) {
    this.name = of.name;
    this.pid = of.pid;
    this.start = of.start;
    this.container = of.container;
    this.hidden = of.hidden;
    this.realm = of.realm;
  }

  /** The earliest task that it could do, not counting that it may be stopped. */
  get next(): Task | undefined {
    return this.tasks[0];
  }
  get due(): number {
    return Math.max(this.tasks[0]!.due, this.stoppedUntil);
  }

  /** Puts a task into its event loop. Returns what takes it out. */
  later(due: number, run: () => void, watch = false): () => void {
    const task = { due, run, watch };
    const at = this.tasks.findIndex((other) => other.due > due);
    this.tasks.splice(at < 0 ? this.tasks.length : at, 0, task);
    return () => {
      const place = this.tasks.indexOf(task);
      if (place >= 0) this.tasks.splice(place, 1);
    };
  }
}
