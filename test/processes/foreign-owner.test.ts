/**
 * A queue that belongs to another account than the one that works on it. Whoever makes the next segment gives it the
 * owner, group and mode of the last one, or leaves making it to those who can.
 */
import { chmodSync, chownSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { listFiles, newestSegment } from './journal-files.ts';
import { messages, Q, stageTest, upTo, type Stage } from './stage.ts';

/** The owner of the queue, and a member of its group. They need not exist. */
const OWNER = { uid: 65_534, gid: 65_534 };
const MEMBER = { uid: 65_533, gid: 65_534 };

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.log('foreign-owner: skipped, only root can act for other accounts');
const test = stageTest({ segmentBytes: 16 * 1024, fileMode: 0o660 });

function ownership(path: string): { uid: number; gid: number; mode: string } {
  const { uid, gid, mode } = statSync(path);
  return { uid, gid, mode: (mode & 0o7777).toString(8) };
}

/** Owner, group and mode of every segment that is there. */
function segmentsOwnership(stage: Stage): object[] {
  return listFiles(stage.queueFolder).segments.map((name) => ownership(join(stage.queueFolder, name)));
}

/** Adds, claims and completes until the queue has moved on by `count` segments. */
async function moveOn(
  stage: Stage,
  queue: Pick<Queue, 'add' | 'claim' | 'settle'>,
  count: number,
): Promise<void> {
  const target = newestSegment(stage.queueFolder) + count;
  while (newestSegment(stage.queueFolder) < target) {
    await queue.add(messages('x'.repeat(20_000)));
    for (const claim of await queue.claim(100, 60_000))
      expect(await queue.settle(claim, { type: 'complete' })).toBe(true);
  }
}

/** A place where other accounts may make queues. */
function openTo(stage: Stage, { uid, gid }: { uid: number; gid: number }): void {
  chmodSync(stage.folder, 0o755);
  chownSync(stage.folder, uid, gid);
}

describe.skipIf(!isRoot)('a queue of another account', () => {
  test('root adds to it and rotates it, and its owner goes on as before', async ({ stage }) => {
    openTo(stage, OWNER);
    const owner = await stage.start({ become: OWNER });
    expect(await owner.backend.create(Q, {})).toBe(true);
    await owner.queue.add(messages('by the owner'));
    const [first] = segmentsOwnership(stage);
    expect(first).toEqual({ ...OWNER, mode: '660' });

    const backend = await stage.open();
    const root = await backend.open(Q);
    await root.add(messages('by root'));
    expect(await root.claim(2, 60_000)).toHaveLength(2);
    await moveOn(stage, root, 5);
    expect(segmentsOwnership(stage)).toEqual(segmentsOwnership(stage).map(() => first));
    // To be emptied by whoever is about to settle when the disk is full, even while another writes it.
    const reserve = join(stage.queueFolder, 'reserve');
    expect(ownership(reserve)).toEqual(first);
    rmSync(reserve);
    await moveOn(stage, root, 1);
    expect(ownership(reserve)).toEqual(first);

    // And back: the owner writes to what root has made, moves on from it, and settles what it is given.
    await moveOn(stage, owner.queue, 5);
    expect(segmentsOwnership(stage)).toEqual(segmentsOwnership(stage).map(() => first));
    const late = await stage.start({ become: OWNER });
    expect(await late.queue.status()).toMatchObject({ counts: { claimed: 2, ready: 0 } });
    await moveOn(stage, late.queue, 3);
    await moveOn(stage, root, 3);
    expect(segmentsOwnership(stage)).toEqual(segmentsOwnership(stage).map(() => first));
    // All that lies beside the segments can be replaced by the owner too: it is the owner's folder.
    expect(ownership(stage.queueFolder)).toEqual({ ...OWNER, mode: '770' });
    expect(await stage.complaints()).toEqual([]);
  });

  test('a member of its group works with it, and leaves the making of segments to those who can', async ({
    stage,
  }) => {
    openTo(stage, OWNER);
    const owner = await stage.start({ become: OWNER });
    await owner.backend.create(Q, {});
    // Made 0700 by who came first; whoever wants others in it says so.
    chmodSync(stage.cacheRoot, 0o770);
    const member = await stage.start({ become: MEMBER });
    // Far beyond the size at which a segment is sealed.
    const added = upTo(10).map((n) => ({ n, filler: 'x'.repeat(20_000) }));
    for (const data of added) await member.queue.add(messages(data));
    const [first] = segmentsOwnership(stage);
    expect(newestSegment(stage.queueFolder)).toBe(1);
    expect(listFiles(stage.queueFolder).others.filter((name) => name.startsWith('tmp-'))).toEqual([]);
    await moveOn(stage, owner.queue, 2);
    expect(segmentsOwnership(stage)).toEqual(segmentsOwnership(stage).map(() => first));
    await member.queue.add(messages('after'));
    expect(await member.queue.claim(10, 60_000)).toMatchObject([{ data: 'after' }]);
    expect(await owner.queue.status()).toMatchObject({ counts: { claimed: 1, ready: 0 } });
    expect(await stage.complaints()).toEqual([]);
  });

  test('without fileMode 0660 nobody but its owner and root can open it', async ({ stage }) => {
    openTo(stage, OWNER);
    const owner = await stage.start({ become: OWNER, fileMode: 0o600 });
    await owner.backend.create(Q, {});
    chmodSync(stage.cacheRoot, 0o770);
    const member = await stage.start({ become: MEMBER });
    await expect(member.queue.status()).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    const root = await (await stage.open()).open(Q);
    await moveOn(stage, root, 2);
    expect(segmentsOwnership(stage)).toEqual(segmentsOwnership(stage).map(() => ({ ...OWNER, mode: '600' })));
    await owner.queue.add(messages('still'));
  });
});
