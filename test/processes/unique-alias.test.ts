/** A queue with unique aliases, and many processes that add the same ones at the same moment. */
import { expect } from 'vitest';
import type { Added, Queue } from '../../src/backend.ts';
import { newestSegment } from './journal-files.ts';
import { Q, stageTest, upTo, type Remote } from './stage.ts';

/** Small, so that the question is also put across rotations. */
const test = stageTest({ segmentBytes: 64 * 1024 });

const PROCESSES = 8;
const ALIASES = 500;

function addAliases(remote: Remote, aliases: readonly number[]): Promise<Added[]> {
  const from = remote.pid;
  return remote.queue.add(
    aliases.map((alias) => ({
      json: JSON.stringify({ alias, from }),
      alias: `order/${alias}`,
      retries: 0,
      disabled: false,
      username: '',
    })),
  );
}

async function completeAll(queue: Queue): Promise<string[]> {
  const aliases: string[] = [];
  for (;;) {
    const claims = await queue.claim(100, 60_000);
    if (claims.length === 0) return aliases;
    aliases.push(...claims.map(({ alias }) => alias));
    await Promise.all(claims.map((claim) => queue.settle(claim, { type: 'complete' })));
  }
}

test('eight processes add the same 500 aliases at once: each is added once, and everybody is told which it is', async ({
  stage,
}) => {
  const backend = await stage.open();
  await backend.create(Q, { uniqueAlias: true });
  const queue = await backend.open(Q);
  const remotes = await stage.startAll(PROCESSES);
  await Promise.all(remotes.map((remote) => remote.queue.status()));
  const uuids = new Set<string>();
  for (let round = 1; round <= 2; round++) {
    // Each begins elsewhere in the same circle, ten at a time: so that everybody is first at something.
    const answers = await Promise.all(
      remotes.map(async (remote, index) => {
        const begin = (index * ALIASES) / PROCESSES;
        const order = upTo(ALIASES).map((alias) => Math.floor(alias + begin) % ALIASES);
        const added: Added[] = [];
        for (let i = 0; i < ALIASES; i += 10)
          added.push(...(await addAliases(remote, order.slice(i, i + 10))));
        return added;
      }),
    );
    const added = answers.flat();
    expect(added).toHaveLength(PROCESSES * ALIASES);
    const winners = new Map(
      added.filter(({ duplicate }) => !duplicate).map((answer) => [answer.alias, answer]),
    );
    expect(added.filter(({ duplicate }) => !duplicate)).toHaveLength(ALIASES);
    expect(winners.size).toBe(ALIASES);
    for (const { alias, uuid, data } of added) {
      const winner = winners.get(alias)!;
      if (uuid !== winner.uuid)
        expect.fail(`${alias} was answered with ${uuid}, but ${winner.uuid} was added`);
      expect(data).toEqual(winner.data);
    }
    for (const { uuid } of winners.values()) uuids.add(uuid);
    expect(uuids.size).toBe(round * ALIASES);

    expect(await queue.status()).toMatchObject({ counts: { ready: ALIASES } });
    // Completed, all are free again: the second round finds them so.
    expect((await completeAll(queue)).sort()).toEqual(
      upTo(ALIASES)
        .map((alias) => `order/${alias}`)
        .sort(),
    );
  }
  expect(await queue.status()).toMatchObject({ processed: 2 * ALIASES, messagesToProcess: 0 });
  expect(newestSegment(stage.queueFolder)).toBeGreaterThan(5);
  expect(await stage.complaints()).toEqual([]);
});

test('an alias is taken until its message is done: claimed, put off or failed, it is still a duplicate', async ({
  stage,
}) => {
  const backend = await stage.open();
  await backend.create(Q, { uniqueAlias: true });
  const queue = await backend.open(Q);
  const other = await stage.start();
  const [first] = await addAliases(other, [1]);
  const told = async (): Promise<{ uuid: string; duplicate: boolean }> => (await addAliases(other, [1]))[0]!;
  const same = { uuid: first!.uuid, duplicate: true };
  const [claim] = await queue.claim(1, 60_000);
  expect(await told()).toMatchObject(same);
  const error = { at: new Date().toISOString(), attempt: 1, name: 'Error', message: 'not yet' };
  await queue.settle(claim!, { type: 'fail', error, due: Date.now() + 3_600_000 });
  expect(await told()).toMatchObject(same);
  await queue.update(first!.uuid, { due: null });
  const [again] = await queue.claim(1, 60_000);
  await queue.settle(again!, { type: 'fail', error });
  expect(await told()).toMatchObject(same);
  expect(await queue.change({ type: 'remove', uuid: first!.uuid })).toBe(1);
  const next = await told();
  expect(next.duplicate).toBe(false);
  expect(next.uuid).not.toBe(first!.uuid);
});
