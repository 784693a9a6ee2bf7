import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCache } from '../../src/cache/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import { verifyQueue } from '../../src/cache/verify.ts';

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  'a clock that says %s makes no record that nobody can read',
  async (time) => {
    const cacheRoot = mkdtempSync(join(tmpdir(), 'coda-clock-'));
    const options = {
      cacheRoot,
      durability: 'os' as const,
      syncInterval: 50,
      fileMode: 0o600,
      keepOutcomes: 1,
      crashLimit: 3,
    };
    const message = { json: '1', alias: '', retries: 0, disabled: false, username: '' };
    try {
      const backend = await openCache(options);
      await backend.create('jobs', {});
      await backend.close();
      const clock = { ...nodePorts.clock, now: () => time };
      const tampered = await openCache({ ...options, ports: { ...nodePorts, clock } });
      const queue = await tampered.open('jobs');
      await queue.add([message]);
      await tampered.close();
      const sound = await openCache(options);
      expect(await (await sound.open('jobs')).claim(5, 1000)).toMatchObject([{ data: 1 }]);
      await sound.close();
      expect(await verifyQueue(join(cacheRoot, 'jobs'))).toMatchObject({ sound: true, messages: 1 });
    } finally {
      rmSync(cacheRoot, { recursive: true });
    }
  },
);
