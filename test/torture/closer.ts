/**
 * The process that comes when all others have ended: says what is left, works it off, and has each queue move on by a few
 * segments, so that what is spent can go. It dies of nothing, and is judged like everybody else.
 */
import { readdirSync } from 'node:fs';
import type { Queue } from '../../src/backend.ts';
import type { Seen } from './diary.ts';
import type { Hands } from './hands.ts';
import { FLEETING } from './plan.ts';
import { given, resume, retry, seen, status, verify } from './roles.ts';

/** Claims of the dead are back within a second or two; those that nobody can judge, after the longest lease. */
const PATIENCE_MS = 30_000;
const SEGMENTS = 4;

export async function close(hands: Hands): Promise<void> {
  // It may be destroyed just now; then what is left of it goes only when it moves on.
  const names = new Set([...(await hands.backend.list()), FLEETING]);
  for (const name of names) {
    const queue = await hands.queue(name);
    await verify(hands, name);
    await status(hands, name);
    await look(hands, name, queue);
    await resume({ hands }, name);
    await retry({ hands }, name);
    await free(hands, name, queue);
    await drain(hands, name, queue);
    await moveOn(hands, name, queue);
    await status(hands, name);
    await verify(hands, name);
  }
}

async function look({ diary }: Hands, name: string, queue: Queue): Promise<void> {
  const act = async (): Promise<Seen[]> => {
    const found: Seen[] = [];
    for await (const message of queue.find({})) found.push(seen(message));
    return found;
  };
  await diary.call('find', name, {}, act, (found) => found);
}

/** Whatever is put off or disabled may run now. */
async function free({ diary }: Hands, name: string, queue: Queue): Promise<void> {
  for await (const message of queue.find({})) {
    if (!message.disabled && !message.dateTimeDeferredExecution) continue;
    const { id } = seen(message);
    const act = (): Promise<unknown> => queue.update(message.uuid, { disabled: false, due: null });
    await diary.call('set', name, { id }, act, Boolean);
  }
}

/** Also what fails on the way, because its worker has died too often. */
async function drain(hands: Hands, name: string, queue: Queue): Promise<void> {
  const { diary } = hands;
  const asked = { limit: 50, lease: PATIENCE_MS * 2 };
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const { counts } = await queue.status();
    if (Object.values(counts).every((count) => count === 0)) return;
    if (counts.failed > 0) await retry({ hands }, name);
    const act = (): ReturnType<Queue['claim']> => queue.claim(asked.limit, asked.lease);
    const { answer: claims, call } = await diary.call('claim', name, asked, act, (got) => got.map(given));
    await Promise.all(
      claims.map((claim) => {
        const settling = { claim: call, id: seen(claim).id, how: 'complete' } as const;
        return diary.call('settle', name, settling, () => queue.settle(claim, { type: 'complete' }), Boolean);
      }),
    );
    if (claims.length > 0) continue;
    if (performance.now() > deadline) {
      const text = `${name} is not empty after ${PATIENCE_MS} ms: ${JSON.stringify(counts)}`;
      return diary.mark({ mark: 'fault', text });
    }
    await queue.wait(500, undefined);
  }
}

/** Adds and removes until the queue has come to its fourth segment from here. */
async function moveOn({ root }: Hands, name: string, queue: Queue): Promise<void> {
  const newest = (): number =>
    Math.max(
      0,
      ...readdirSync(`${root}/${name}`).map((file) => Number(/^(\d{8})\.journal$/.exec(file)?.[1] ?? 0)),
    );
  const goal = newest() + SEGMENTS;
  const json = JSON.stringify('x'.repeat(20_000));
  while (newest() < goal) {
    const [message] = await queue.add([{ json, alias: '', retries: 0, disabled: false, username: '' }]);
    await queue.change({ type: 'remove', uuid: message!.uuid });
  }
}
