/** Places where the guarantees would not hold: refused with what was expected and what was found. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'coda-refusals-'))));
afterEach(() => rmSync(folder, { recursive: true }));

function open(cacheRoot: string, ports: Ports = nodePorts): Promise<Backend> {
  const limits = { syncInterval: 50, fileMode: 0o600, keepOutcomes: 10, crashLimit: 3 };
  return openCache({ cacheRoot, durability: 'os', ports, ...limits });
}

/** The machine as it is, but for the file system that the folder claims to be on. */
function onFileSystem(type: number): Ports {
  const space = (path: string): { free: number; type: number } => ({ ...nodePorts.fs.space(path), type });
  return { ...nodePorts, fs: { ...nodePorts.fs, space } };
}

test.each([
  ['NFS', 0x6969],
  ['CIFS', 0xff534d42],
  ['CIFS, as a signed number', 0xff534d42 | 0],
  ['FUSE or virtiofs', 0x65735546],
  ['9p', 0x01021997],
])('a cacheRoot on %s', async (name, type) => {
  const refusal = await open(join(folder, 'queues'), onFileSystem(type)).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: 'STORAGE_UNSUPPORTED', path: join(folder, 'queues') });
  expect(String(refusal)).toContain(name.split(',')[0]);
});

test('a queue whose folder is on a network file system, though its root is not', async () => {
  const local = await open(folder);
  await local.create('jobs', {});
  const ports = onFileSystem(0x6969);
  const mixed: Ports = {
    ...ports,
    fs: { ...ports.fs, space: (path) => (path.endsWith('jobs') ? ports : nodePorts).fs.space(path) },
  };
  await expect((await open(folder, mixed)).open('jobs')).rejects.toMatchObject({
    code: 'STORAGE_UNSUPPORTED',
    queue: 'jobs',
  });
});

test('a cacheRoot that is a file', async () => {
  const path = join(folder, 'file');
  writeFileSync(path, '');
  await expect(open(path)).rejects.toMatchObject({ code: 'STORAGE_UNSUPPORTED', path });
});

test('a file system on which appends overwrite each other', async () => {
  const fs: Ports['fs'] = {
    ...nodePorts.fs,
    read: (fd, into, offset, length, position) => {
      const got = nodePorts.fs.read(fd, into, offset, length, position);
      if (length === 3) into.set(Buffer.from('c'), offset);
      return got;
    },
  };
  const backend = await open(folder, { ...nodePorts, fs });
  await expect(backend.create('jobs', {})).rejects.toMatchObject({ code: 'STORAGE_UNSUPPORTED' });
});

test('a link or a file in the place of a queue’s folder, but not a root that is a link itself', async () => {
  mkdirSync(join(folder, 'real'));
  symlinkSync(join(folder, 'real'), join(folder, 'root'));
  const backend = await open(join(folder, 'root'));
  expect(await backend.create('jobs', {})).toBe(true);
  symlinkSync(join(folder, 'real', 'jobs'), join(folder, 'real', 'linked'));
  writeFileSync(join(folder, 'real', 'file'), '');
  for (const name of ['linked', 'file']) {
    const refused = { code: 'STORAGE_UNSUPPORTED', queue: name };
    await expect(backend.open(name)).rejects.toMatchObject(refused);
    await expect(backend.create(name, {})).rejects.toMatchObject(refused);
    await expect(backend.destroy(name)).rejects.toMatchObject(refused);
  }
  expect(await backend.list()).toEqual(['jobs']);
  await backend.close();
});
