/** Queues on a simulated machine. */
import type { Backend, NewMessage } from '../../src/backend.ts';
import { openCache, type CacheOptions } from '../../src/cache/backend.ts';
import type { SimMachine } from './sim-machine.ts';

/** As a process of its own, with segments that no test fills, unless `how` says otherwise. */
export function openOn(machine: SimMachine, how: Partial<CacheOptions> = {}): Promise<Backend> {
  return openCache({
    cacheRoot: '/srv',
    durability: 'always',
    syncInterval: 50,
    fileMode: 0o600,
    keepOutcomes: 10,
    crashLimit: 3,
    segmentBytes: 1e6,
    ports: machine.process(),
    ...how,
  });
}

export function messageOf(data: unknown): NewMessage {
  return { json: JSON.stringify(data), alias: '', retries: 0, disabled: false, username: '' };
}
