/** Somebody else's parser reads what /metrics says. */
import parse from 'parse-prometheus-text-format';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeSupervisor, specOf } from './fake-supervisor.ts';
import { Desk } from './desk.ts';

interface Family {
  name: string;
  type: string;
  help: string;
  metrics: { value: string; labels?: Record<string, string> }[];
}

let desk: Desk;
beforeEach(() => {
  desk = new Desk();
});
afterEach(() => desk.close());

async function read(): Promise<Map<string, Family>> {
  const { status, headers, text } = await desk.get('/metrics');
  expect(status).toBe(200);
  expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
  return new Map((parse(text) as Family[]).map((family) => [family.name, family]));
}

function value(families: Map<string, Family>, name: string, labels: Record<string, string> = {}): number {
  const found = families
    .get(name)
    ?.metrics.filter((each) => Object.entries(labels).every(([key, text]) => each.labels?.[key] === text));
  expect([name, found?.length]).toEqual([name, 1]);
  return Number(found![0]!.value);
}

test('the numbers of queues and children are told', async () => {
  await desk.open();
  await desk.queues.createQueue('mails');
  for (let n = 0; n < 3; n++) await desk.queues.addMessage('mails', { data: n });
  await desk.queues.getMessage('mails');
  desk.supervisor.setChild('cam#1', { restarts: 4, failures: 2, memory: 1234, healthy: true });
  const families = await read();
  expect(value(families, 'coda_queue_messages', { queue: 'mails', state: 'ready' })).toBe(2);
  expect(value(families, 'coda_queue_processed_total', { queue: 'mails' })).toBe(1);
  expect(value(families, 'coda_queue_readable', { queue: 'mails' })).toBe(1);
  expect(value(families, 'coda_queue_oldest_ready_seconds', { queue: 'mails' })).toBeLessThan(60);
  expect(value(families, 'coda_child_up', { process: 'cam', child: 'cam#1' })).toBe(1);
  expect(value(families, 'coda_child_restarts_total', { child: 'cam#1' })).toBe(4);
  expect(value(families, 'coda_child_failures', { child: 'cam#1' })).toBe(2);
  expect(value(families, 'coda_child_memory_bytes', { child: 'cam#1' })).toBe(1234);
  expect(value(families, 'coda_child_healthy', { child: 'cam#1' })).toBe(1);
  expect(value(families, 'coda_process_children', { process: 'cam', state: 'running' })).toBe(1);
  expect(value(families, 'coda_supervisor_up')).toBe(1);
  expect(value(families, 'process_resident_memory_bytes')).toBeGreaterThan(1e6);
  for (const { name, type, help } of families.values()) {
    expect([name, help]).not.toEqual([name, '']);
    expect([name, type === 'COUNTER']).toEqual([name, name.endsWith('_total')]);
  }
});

test('a name cannot end its label, or begin a line', async () => {
  const name = 'a"} 1\nevil{x="\\';
  desk.supervisor = new FakeSupervisor(specOf(name));
  await desk.open();
  const families = await read();
  expect(value(families, 'coda_process_children_wanted', { process: name })).toBe(1);
  expect(families.has('evil')).toBe(false);
});

test('a queue that cannot be read is told, and hides no other', async () => {
  await desk.open();
  await desk.queues.createQueue('sound');
  await desk.queues.createQueue('torn');
  const status = desk.queues.queueStatus.bind(desk.queues);
  desk.queues.queueStatus = (queue) => (queue === 'torn' ? Promise.reject(new Error('rot')) : status(queue));
  const families = await read();
  expect(value(families, 'coda_queue_readable', { queue: 'torn' })).toBe(0);
  expect(value(families, 'coda_queue_readable', { queue: 'sound' })).toBe(1);
});
