/**
 * The tries that run, in no order. Not a Set: what a Set outgrows points to what took its place, so that, once the collector
 * has taken one of those for old, every message from there on stays in memory until it collects all.
 */
import type { Task } from './task.ts';

export class Running implements Iterable<Task> {
  readonly #tasks: Task[] = [];

  get size(): number {
    return this.#tasks.length;
  }

  add(task: Task): void {
    task.slot = this.#tasks.push(task) - 1;
  }

  /** Does nothing when it is not there. The last one takes its place. */
  delete(task: Task): void {
    if (this.#tasks[task.slot] !== task) return;
    const last = this.#tasks.pop()!;
    if (last === task) return;
    last.slot = task.slot;
    this.#tasks[task.slot] = last;
  }

  [Symbol.iterator](): Iterator<Task> {
    // A copy: who goes through them may end some.
    return [...this.#tasks].values();
  }
}
