import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Added, Backend, NewMessage, Queue } from '../src/backend.ts';
import { openMemory, QueueError, QueueManager } from '../src/index.ts';
import type { OpenOptions } from '../src/index.ts';

describe('opening', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'coda-manager-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('queueType memory keeps queues in this manager alone', async () => {
    await using one = await QueueManager.open({ queueType: 'memory' });
    await using two = await QueueManager.open({ queueType: 'memory' });
    await one.createQueue('q');
    expect(await one.listQueues()).toEqual(['q']);
    expect(await two.listQueues()).toEqual([]);
  });

  test('an unknown queue type is refused with those that are known', async () => {
    const opening = QueueManager.open({ queueType: 'memroy' });
    await expect(opening).rejects.toMatchObject({ code: 'UNKNOWN_QUEUE_TYPE' });
    await expect(opening).rejects.toThrow(/"memroy".*cache and memory, did you mean memory\?/);
    await expect(QueueManager.open({ queueType: 'constructor' })).rejects.toMatchObject({
      code: 'UNKNOWN_QUEUE_TYPE',
    });
  });

  test('an unknown option is refused with the near one', async () => {
    const opening = QueueManager.open({ cacheroot: folder } as OpenOptions);
    await expect(opening).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(opening).rejects.toThrow('unknown option "cacheroot"; did you mean cacheRoot?');
    // Known to the configuration, but no business of a manager.
    await expect(QueueManager.open({ workersDir: folder } as OpenOptions)).rejects.toThrow(
      'unknown option "workersDir"',
    );
  });

  test('an option out of its range is refused', async () => {
    for (const options of [
      { durability: 'never' },
      { maxMessageBytes: 0 },
      { lease: '30' },
      { lease: -1 },
      { crashLimit: 0 },
      { config: 7 },
      { queueType: 'Cache!' },
      { backoff: '2h', backoffMax: '1h' },
    ]) {
      await expect(QueueManager.open(options as OpenOptions)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
      });
    }
  });

  test('options stand above the file', async () => {
    const config = join(folder, 'config.ini');
    writeFileSync(config, '[queue]\nqueueType = memory\nmaxMessageBytes = 10\n');
    await using fromFile = await QueueManager.open({ config });
    await fromFile.createQueue('q');
    await expect(fromFile.addMessage('q', { data: 'x'.repeat(9) })).rejects.toMatchObject({
      code: 'MESSAGE_TOO_LARGE',
    });
    await using above = await QueueManager.open({ config, maxMessageBytes: '1KiB' });
    await above.createQueue('q');
    await above.addMessage('q', { data: 'x'.repeat(9) });
  });

  test('options that are undefined count as not given', async () => {
    const backend = openMemory();
    await using manager = await QueueManager.open({
      backend,
      config: undefined,
      lease: undefined,
      durability: undefined,
    });
    expect(await manager.listQueues()).toEqual([]);
  });
});

/** Just enough of a backend to see when it is asked what. */
function recorder(): { backend: Backend; asked: NewMessage[][]; opened: () => void } {
  const asked: NewMessage[][] = [];
  let opened = (): void => undefined;
  const opening = new Promise<void>((resolve) => (opened = resolve));
  const queue = {
    add: async (messages: NewMessage[]) => {
      asked.push(messages);
      return messages.map(({ json }) => ({ data: JSON.parse(json) as unknown, duplicate: false }) as Added);
    },
    status: async () => ({}),
    close: async () => undefined,
  } as unknown as Queue;
  const backend = {
    open: async () => {
      await opening;
      return queue;
    },
    lastError: () => undefined,
    close: async () => undefined,
  } as unknown as Backend;
  return { backend, asked, opened };
}

describe('asking a backend', () => {
  test('an open queue is asked within the call', async () => {
    const { backend, asked, opened } = recorder();
    await using manager = await QueueManager.open({ backend });
    opened();
    await manager.queueStatus('q');
    const adding = [manager.addMessage('q', { data: 1 }), manager.addMessage('q', { data: 2 })];
    expect(asked.map((messages) => messages.map(({ json }) => json))).toEqual([['1'], ['2']]);
    expect((await Promise.all(adding)).map(({ data }) => data)).toEqual([1, 2]);
  });

  test('what is asked while a queue opens is asked in order, and as it was at the call', async () => {
    const { backend, asked, opened } = recorder();
    await using manager = await QueueManager.open({ backend });
    const data = [1];
    const adding = [manager.addMessage('q', { data }), manager.addMessage('q', { data: 2 })];
    data.push(99);
    expect(asked).toEqual([]);
    opened();
    await Promise.all(adding);
    expect(asked.map(([message]) => message!.json)).toEqual(['[1]', '2']);
  });

  test('what is invalid does not even open the queue', async () => {
    const { backend } = recorder();
    await using manager = await QueueManager.open({
      backend: { ...backend, open: () => expect.fail('opened') },
    });
    await expect(manager.addMessage('q', { data: Number.NaN })).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
    });
  });

  test('an opening that fails is tried again by the next call', async () => {
    const { backend, opened } = recorder();
    let tries = 0;
    await using manager = await QueueManager.open({
      backend: {
        ...backend,
        open: async (name) => {
          if (++tries === 1) throw new QueueError('STORAGE_FAILED', 'once');
          return backend.open(name);
        },
      },
    });
    opened();
    const first = [manager.addMessage('q', { data: 1 }), manager.addMessage('q', { data: 2 })];
    for (const result of await Promise.allSettled(first))
      expect(result).toMatchObject({ reason: { code: 'STORAGE_FAILED' } });
    await manager.addMessage('q', { data: 3 });
    expect(tries).toBe(2);
  });

  test('an error met in the background is the last error until a call meets another', async () => {
    const { backend, opened } = recorder();
    const background: { error?: QueueError } = {};
    await using manager = await QueueManager.open({
      backend: { ...backend, lastError: () => background.error },
    });
    opened();
    await expect(manager.createQueue('..')).rejects.toMatchObject({ code: 'INVALID_QUEUE_NAME' });
    expect(manager.getLastError()).toMatchObject({ code: 'INVALID_QUEUE_NAME' });
    background.error = new QueueError('STORAGE_FAILED', 'a sync failed');
    expect(manager.getLastError()).toBe(background.error);
    await expect(manager.createQueue('..')).rejects.toMatchObject({ code: 'INVALID_QUEUE_NAME' });
    expect(manager.getLastError()).toMatchObject({ code: 'INVALID_QUEUE_NAME' });
  });
});

describe('the package', () => {
  test('a root import loads nothing but Node’s own modules and its own', () => {
    const packages = new Set<string>();
    const files = [new URL('../src/index.ts', import.meta.url).href];
    // Grows while it is iterated.
    for (const file of files) {
      const imports = readFileSync(new URL(file), 'utf8').matchAll(
        /^(?:import|export) (?!type\b)[^;]*?from '([^']+)'/gm,
      );
      for (const [, name] of imports) {
        const imported = name!.startsWith('.') ? new URL(name!, file).href : undefined;
        if (imported === undefined && !name!.startsWith('node:')) packages.add(`${name} by ${file}`);
        if (imported !== undefined && !files.includes(imported)) files.push(imported);
      }
    }
    expect([...packages]).toEqual([]);
    expect(files.length).toBeGreaterThan(10);
  });
});
