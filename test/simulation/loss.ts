/** What a power cut leaves of a disk. */
import type { Stream } from './choices.ts';
import { File, Folder } from './inodes.ts';

/**
 * What a power cut takes of what was not flushed. `any`: any sectors. `writes`: each write is there or not, as it is where they are
 * as large as sectors: small ones, which hang together, can be lost without each other. `ordered`: names in the order of their changes, as the journals of ext4
 * and XFS do it; else any of them.
 */
export interface Loss {
  sectors: 'all' | 'tail' | 'any' | 'writes';
  names: 'all' | 'ordered' | 'any';
}

/** What a disk writes at once: small segments have many of them. */
const SECTOR = 512;

/** The folder as it is found when the machine is started again, and the bytes that its files take. */
export function survivors(root: Folder, loss: Loss, choices: Stream): { root: Folder; used: number } {
  const files = new Map<File, File>();
  const restore = (from: Folder): Folder => {
    const to = new Folder();
    for (const [name, node] of namesOf(from, loss, choices)) {
      let found: File | Folder;
      if (node.kind === 'folder') found = restore(node);
      else {
        found = files.get(node) ?? survivor(node, loss, choices);
        files.set(node, found);
        found.links++;
      }
      to.names.set(name, found);
      to.durable.set(name, found);
    }
    return to;
  };
  const after = restore(root);
  let used = 0;
  for (const { cache } of files.values()) used += cache.size;
  return { root: after, used };
}

function namesOf({ durable, pending }: Folder, loss: Loss, choices: Stream): Folder['names'] {
  const names = new Map(durable);
  const kept = loss.names === 'ordered' ? choices.below(pending.length + 1) : Infinity;
  for (const [i, change] of pending.entries()) {
    if (loss.names === 'all' || i >= kept || (loss.names === 'any' && !choices.chance(0.5))) continue;
    change(names);
  }
  return names;
}

/** The file as it is found after a power cut. */
function survivor({ cache, device, dirty, mode, uid, gid }: File, loss: Loss, choices: Stream): File {
  const after = Object.assign(new File(), { uid, gid, mode });
  const put = (from: number, bytes: Uint8Array): void => {
    after.cache.set(from, bytes);
    after.device.set(from, bytes);
  };
  put(0, device.get(0, device.size));
  if (loss.sectors === 'all') return after;
  if (loss.sectors === 'tail') {
    // Written in order, up to some byte.
    let left = choices.below(dirty.reduce((sum, { from, to }) => sum + to - from, 0) + 1);
    for (const { from, to } of dirty) {
      const length = Math.min(left, to - from);
      left -= length;
      if (length > 0) put(from, cache.get(from, from + length));
    }
    return after;
  }
  if (loss.sectors === 'writes') {
    for (const { from, to } of dirty) if (choices.chance(0.5)) put(from, cache.get(from, to));
    return after;
  }
  if (cache.size > after.cache.size) {
    // The size may be on the disk without the data.
    const size = after.cache.size + choices.below(cache.size - after.cache.size + 1);
    after.cache.resize(size);
    after.device.resize(size);
  }
  for (let at = 0; at < after.cache.size; at += SECTOR) {
    const end = Math.min(at + SECTOR, after.cache.size);
    const written = dirty.filter(({ from, to }) => from < end && to > at);
    if (written.length === 0) continue;
    // A sector is written as it was at some time.
    for (const { from, to } of written.slice(0, choices.below(written.length + 1)))
      put(Math.max(from, at), cache.get(Math.max(from, at), Math.min(to, end)));
  }
  return after;
}
