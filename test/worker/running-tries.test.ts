import { expect, test } from 'vitest';
import { Running } from '../../src/worker/running.ts';
import { Task, type TaskOwner } from '../../src/worker/task.ts';
import { Seeded } from '../support/seeded.ts';

const owner: TaskOwner = {
  queue: 'mail',
  sink: () => undefined,
  renew: () => Promise.resolve(true),
  report: () => Promise.resolve(),
};
const claim = { uuid: 'u', alias: '', attempts: 1 } as Task['claim'];
const tryOf = (): Task => new Task(claim, owner);

test('the tries that run are those that were added and not taken out, in whatever order', () => {
  const random = new Seeded(5);
  const running = new Running();
  const expected = new Set<Task>();
  const ended: Task[] = [];
  for (let i = 0; i < 2000; i++) {
    if (expected.size === 0 || random.below(2) === 0) {
      const task = tryOf();
      running.add(task);
      expected.add(task);
    } else {
      const task = random.pick([...expected]);
      running.delete(task);
      expected.delete(task);
      ended.push(task);
    }
    // What has ended does nothing when it ends again.
    if (ended.length > 0) running.delete(random.pick(ended));
    expect(running.size).toBe(expected.size);
    expect([...running].every((task) => expected.has(task))).toBe(true);
  }
});

test('all are come by, also when they end meanwhile', () => {
  const running = new Running();
  const tasks = [tryOf(), tryOf(), tryOf()];
  for (const task of tasks) running.add(task);
  const met: Task[] = [];
  for (const task of running) {
    running.delete(task);
    met.push(task);
  }
  expect(met).toEqual(tasks);
  expect(running.size).toBe(0);
});
