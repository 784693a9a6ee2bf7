/**
 * The surroundings of a process that is the same each time: what a queue writes in them is, byte for byte, if one call is awaited
 * after the other. Nothing tells it of what others do, and time passes only as it waits.
 */
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Identity, Ports } from '../../src/cache/ports.ts';
import { Seeded } from './seeded.ts';

/** Epoch ms, far in the future: what is put off until later is put off whenever a test runs. */
export const LATER = 4_100_000_000_000;
/** Of one's whole life, epoch ms. */
export const THEN = 1_790_000_000_000;

const SELF: Identity = {
  pid: 4242,
  start: '1',
  boot: '00000000-0000-4000-8000-000000000001',
  pidNamespace: 'pid:[1]',
  timeNamespace: 'time:[1]',
};

export function fixedPorts(): Ports {
  const random = new Seeded(1);
  let passed = 0;
  let uuids = 0;
  return {
    fs: {
      ...nodePorts.fs,
      // It would wake up by chance.
      watch: () => () => undefined,
      // Records tell how far the file was flushed then: here, as soon as that is asked for.
      sync: () => Promise.resolve(),
      syncFolder: () => Promise.resolve(),
    },
    clock: {
      ...nodePorts.clock,
      now: () => THEN + passed,
      monotonic: () => 1_000_000 + passed,
      busy: () => 0,
      timer: (ms, run) =>
        nodePorts.clock.timer(ms, () => {
          passed += Math.ceil(ms);
          run();
        }),
    },
    random: {
      hex: (bytes) => random.hex(bytes),
      uuid: () =>
        `${(THEN + ++uuids)
          .toString(16)
          .padStart(12, '0')
          .replace(/^(.{8})/, '$1-')}-7000-8000-${random.hex(6)}`,
    },
    processes: { self: () => SELF, isKnownDead: () => false },
  };
}

/** What a handler throws, without a stack: that names the places of this machine. */
export function refusal(message: string): object {
  return { name: 'Error', message };
}
