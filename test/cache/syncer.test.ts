import { describe, expect, test } from 'vitest';
import { Syncer } from '../../src/cache/syncer.ts';

/** A device whose flushes end when the test says so. */
class Device {
  readonly flushes: { resolve: () => void; reject: (error: Error) => void }[] = [];
  size = 0;
  /** Milliseconds. */
  now = 0;
  readonly syncer: Syncer;
  /** What its waiters were told, in order. */
  readonly told: string[] = [];

  constructor(synced = 0) {
    const sync = (): Promise<void> =>
      new Promise((resolve, reject) => {
        this.flushes.push({ resolve, reject });
      });
    this.syncer = new Syncer(sync, { monotonic: () => this.now }, synced, () => this.size);
  }

  /** Somebody who waits for what has just been written. */
  write(name: string, bytes = 100): void {
    this.size += bytes;
    this.syncer.wait(this.size, (error) =>
      this.told.push(error === undefined ? name : `${name}: ${error.message}`),
    );
  }

  async end(flush: number, error?: Error): Promise<void> {
    if (error) this.flushes[flush]!.reject(error);
    else this.flushes[flush]!.resolve();
    // The flush's end and the waiters' answers are a few microtasks away.
    await new Promise(setImmediate);
  }
}

describe('who waits for the device', () => {
  test('is told when a flush that began after the write has ended, not before', async () => {
    const device = new Device();
    device.write('a');
    expect(device.flushes).toHaveLength(1);
    expect(device.told).toEqual([]);
    await device.end(0);
    expect(device.told).toEqual(['a']);
    expect(device.syncer.synced).toBe(100);
  });

  test('can see for how long the device has been at it', async () => {
    const device = new Device();
    device.now = 1000;
    expect(device.syncer.takes).toBe(0);
    device.write('a');
    device.now = 1030;
    expect(device.syncer.takes).toBe(30);
    device.write('b');
    await device.end(0);
    expect(device.syncer.takes).toBe(0);
    device.now = 1032;
    expect(device.syncer.takes).toBe(2);
    await device.end(1);
    expect(device.syncer.takes).toBe(0);
  });

  test('shares the next flush with all who come while one is running', async () => {
    const device = new Device();
    device.write('a');
    device.write('b');
    device.write('c');
    expect(device.flushes).toHaveLength(1);
    await device.end(0);
    // What was written after the flush began may not be on the device.
    expect(device.told).toEqual(['a']);
    expect(device.flushes).toHaveLength(2);
    await device.end(1);
    expect(device.told).toEqual(['a', 'b', 'c']);
    expect(device.flushes).toHaveLength(2);
  });

  test('is told at once of what is on the device already', () => {
    const device = new Device(500);
    device.syncer.wait(400, () => device.told.push('old'));
    expect(device.told).toEqual(['old']);
    expect(device.flushes).toHaveLength(0);
  });

  test('may wait again as soon as it is told', async () => {
    const device = new Device();
    device.size = 100;
    device.syncer.wait(100, () => device.write('second'));
    await device.end(0);
    expect(device.flushes).toHaveLength(2);
    await device.end(1);
    expect(device.told).toEqual(['second']);
  });

  test('is one of many for whom one flush is enough', async () => {
    const device = new Device();
    device.write('first');
    for (let i = 0; i < 1000; i++) device.write(String(i));
    await device.end(0);
    await device.end(1);
    expect(device.told).toHaveLength(1001);
    expect(device.flushes).toHaveLength(2);
  });
});

describe('a flush that fails', () => {
  test('is told to everybody who waits, also those whose own flush would have been the next', async () => {
    const device = new Device();
    device.write('a');
    device.write('b');
    await device.end(0, new Error('EIO'));
    expect(device.told).toEqual(['a: EIO', 'b: EIO']);
    expect(device.flushes).toHaveLength(1);
  });

  test('is never tried again: whoever comes later is refused, and nothing counts as synced', async () => {
    const device = new Device();
    device.write('a');
    await device.end(0);
    device.write('b');
    await device.end(1, new Error('EIO'));
    expect(device.syncer.failed).toBe(true);
    device.write('c');
    expect(device.told).toEqual(['a', 'b: EIO', 'c: EIO']);
    expect(device.flushes).toHaveLength(2);
    expect(device.syncer.synced).toBe(100);
    // Even what was on the device before: this handle promises nothing any more.
    device.syncer.wait(50, (error) => device.told.push(String(error?.message)));
    expect(device.told.at(-1)).toBe('EIO');
  });

  test('rejects nothing by itself: to be idle is always reached', async () => {
    const device = new Device();
    await device.syncer.idle();
    device.write('a');
    let idle = false;
    const waiting = device.syncer.idle().then(() => (idle = true));
    await new Promise(setImmediate);
    expect(idle).toBe(false);
    await device.end(0, new Error('EIO'));
    await waiting;
    expect(idle).toBe(true);
  });
});

test('idle is reached only when the waiters that came meanwhile are served, too', async () => {
  const device = new Device();
  device.write('a');
  let idle = false;
  const waiting = device.syncer.idle().then(() => (idle = true));
  device.write('b');
  await device.end(0);
  expect(idle).toBe(false);
  await device.end(1);
  await waiting;
  expect(device.told).toEqual(['a', 'b']);
});
