/** A client that works: claims, and what becomes of them. */
import type { Queue } from '../../src/backend.ts';
import type { Claim } from '../../src/message.ts';
import { MOST_CLAIMED } from './audit.ts';
import type { Held } from './entries.ts';
import { errorOf, numberOf, ripen, sleep, unlessLost, type Env } from './env.ts';

export async function claim(env: Env, queue: Queue): Promise<void> {
  const { witness, claims: known, choices, process, say } = env;
  const lease = env.lease;
  const began = env.time();
  const call = known.claiming(process);
  const claims = await unlessLost(witness, call, handedOver(env, queue, 1 + choices.below(MOST_CLAIMED)));
  say(`claimed ${claims.length === 0 ? 'nothing' : claims.map(numberOf).join(' ')}`);
  const held = known.claimed(call, claims, began, lease);
  if (held.length === 0) {
    await queue.wait(choices.below(3) * 40, undefined);
    return;
  }
  for (const one of held) {
    await sleep(env, choices.below(40) / 10);
    const how = choices.weighted([
      ['complete', 10],
      ['fail', 2],
      ['release', 2],
      ['renew', 3],
      ['edge', 4],
      ['late', 1],
      ['leave', 1],
    ] as const);
    if (how === 'leave') continue;
    // While others may already be writing that it is over.
    if (how === 'edge') await sleep(env, Math.max(0, began + lease - env.time() + choices.below(5) - 2));
    if (how === 'renew' || how === 'edge') await renew(env, queue, one, lease);
    // Past its lease: it may be another's by now.
    if (how === 'late') await sleep(env, lease * (1 + choices.below(3)));
    await settle(
      env,
      queue,
      one,
      how === 'complete' || how === 'fail' || how === 'release' ? how : 'complete',
    );
  }
}

/** What was claimed; where the storage lets none of it be read, nothing is. */
async function handedOver(env: Env, queue: Queue, most: number): Promise<Claim[]> {
  const { witness, audit, lease, met } = env;
  const refused = env.readsRefused();
  try {
    const claims = await queue.claim(most, lease);
    // Those that could not be read have gone back, and count as having crashed.
    if (env.readsRefused() > refused) witness.unanswered.claimsLost = true;
    return claims;
  } catch (error) {
    if (!(error as Error).message.includes('reading a message')) throw error;
    met('claims given back');
    const since = witness.tick();
    const status = await queue.status();
    audit.counted(status, since);
    audit.held(status, env.changesRefused());
    witness.unanswered.claimsLost = true;
    return [];
  }
}

async function renew(env: Env, queue: Queue, held: Held, lease: number): Promise<void> {
  const { claims, say } = env;
  const began = env.time();
  const since = claims.settling(held, 'renew');
  const applied = await queue.settle(held.claim, { type: 'renew', lease });
  say(`renewed ${held.entry.id}: ${applied}`);
  claims.settled(held, 'renew', applied, since);
  env.met(applied ? 'renewals' : 'stale settles');
  if (!applied) return;
  claims.renewed(held, began, lease);
  await sleep(env, env.choices.below(lease));
}

async function settle(
  env: Env,
  queue: Queue,
  held: Held,
  how: 'complete' | 'fail' | 'release',
): Promise<void> {
  const { claims, choices, say } = env;
  const since = claims.settling(held, how);
  const due = choices.chance(0.5) ? env.ports.clock.now() + choices.below(10) : undefined;
  const failure = { type: 'fail' as const, error: errorOf(env), ...(due === undefined ? {} : { due }) };
  const applied = await queue.settle(held.claim, how === 'fail' ? failure : { type: how });
  say(`${how} ${held.entry.id}: ${applied}`);
  claims.settled(held, how, applied, since);
  if (!applied) env.met('stale settles');
  else if (how === 'complete') ripen(env, queue, () => env.witness.ripened([held.entry], 'ended'));
}
