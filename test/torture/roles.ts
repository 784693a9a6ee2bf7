/** What the processes of the torture do with the queues, one step after the other, until they are asked to leave. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NewMessage, Queue } from '../../src/backend.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Claim, Message } from '../../src/message.ts';
import type { Seeded } from '../support/seeded.ts';
import type { Hands } from './hands.ts';
import { now, type Ending, type Given, type New, type Seen } from './diary.ts';
import { makePayload, readPayload } from './payload.ts';
import { ALIASES, FLEETING, JOBS, weighted, type Life, type Role } from './plan.ts';

/** A process that nobody ends has done enough after so many steps of each lane. */
const STEPS = 300;
const HOUR_MS = 3_600_000;

interface Actor {
  hands: Hands;
  life: Life;
  dice: Seeded;
  /** Numbers what this process gives a name to. */
  names: number;
  /** Messages that were there when it looked last, by queue. */
  seen: Map<string, readonly Seen[]>;
}

type Step = (actor: Actor, name: string) => Promise<void>;

/** Resolves when all has been done. @param opened called when the first queue has been opened. */
export async function play(hands: Hands, life: Life, dice: Seeded, opened: () => void): Promise<void> {
  const actor: Actor = { hands, life, dice, names: 0, seen: new Map() };
  if (life.births) await bear(actor);
  await hands.queue(JOBS);
  opened();
  await Promise.all(Array.from({ length: life.lanes }, () => lane(actor)));
}

async function lane(actor: Actor): Promise<void> {
  const { hands, life, dice } = actor;
  const role = ROLES[life.role];
  for (let step = 0; step < STEPS && !hands.leaving; step++) {
    await sleep(dice.below(role.pause));
    const name = weighted(dice, role.queues);
    try {
      await weighted(dice, role.steps)(actor, name);
    } catch (error) {
      hands.judge(error);
      hands.forget(name);
    }
    const error = hands.backend.lastError();
    if (error) hands.judge(error);
  }
}

// --- What is seen -----------------------------------------------------------------------------------------------------

export function seen({ data, uuid }: Message): Seen {
  const { id, version } = readPayload(data) ?? { id: '', version: '' };
  return { id, version, uuid };
}

export function given(message: Message & { token?: string }): Given {
  const { alias, crashes, token } = message;
  // The position is the middle of a token.
  const place = token === undefined ? undefined : /@(\d+)\.(\d+)\//.exec(token);
  const known: Given = { ...seen(message), alias, crashes };
  if (place) known.at = [Number(place[1]), Number(place[2])];
  return known;
}

// --- Adding -----------------------------------------------------------------------------------------------------------

async function bear(actor: Actor): Promise<void> {
  // Others may be making it, too. Nobody takes anything out of it.
  await add(actor, `born-${actor.life.number % 8}`);
}

/** A payload's size: most are small, some are larger than what others read and write at a time. */
function sizeOf(dice: Seeded): number {
  const kind = dice.next();
  if (kind < 0.1) return 10;
  if (kind < 0.9) return Math.round(80 * 20 ** dice.next());
  return kind < 0.98 ? 2000 + dice.below(10_000) : 10_000 + dice.below(290_000);
}

function invent(actor: Actor, name: string): { noted: New; message: NewMessage } {
  const { dice, life } = actor;
  const id = `${life.number}.${++actor.names}`;
  const alias = name === ALIASES ? `a${dice.below(60)}` : dice.chance(0.5) ? `é-${id}` : '';
  const json = JSON.stringify(makePayload(id, id, sizeOf(dice)));
  const noted: New = { id, alias };
  const message: NewMessage = { json, alias, retries: 3, disabled: false, username: '' };
  const kind = dice.next();
  if (kind < 0.1) {
    const ms = kind < 0.02 ? HOUR_MS : dice.below(300);
    noted.due = now() + ms;
    message.due = Date.now() + ms;
  } else if (kind < 0.13) {
    noted.disabled = message.disabled = true;
  }
  return { noted, message };
}

async function add(actor: Actor, name: string): Promise<void> {
  const { hands, dice } = actor;
  const queue = await hands.queue(name);
  const all = Array.from({ length: dice.chance(0.5) ? 1 : 2 + dice.below(8) }, () => invent(actor, name));
  await hands.diary.call(
    'add',
    name,
    { messages: all.map(({ noted }) => noted) },
    () => queue.add(all.map(({ message }) => message)),
    (added) =>
      added.map((message) => ({ id: seen(message).id, uuid: message.uuid, duplicate: message.duplicate })),
  );
}

// --- Claiming and settling ----------------------------------------------------------------------------------------------

async function work({ hands, dice, life }: Actor, name: string): Promise<void> {
  const queue = await hands.queue(name);
  const asked = { limit: 1 + dice.below(6), lease: life.lease };
  const act = (): Promise<Claim[]> => queue.claim(asked.limit, asked.lease);
  const { answer: claims, call } = await hands.diary.call('claim', name, asked, act, (got) => got.map(given));
  if (claims.length === 0) return void (await queue.wait(10 + dice.below(60), undefined));
  // Long enough, now and then, to be still at it when somebody settles who had it before.
  await sleep(dice.below(dice.chance(0.2) ? 300 : 10));
  const handled = claims.map((claim) => () => handle({ hands, dice, queue, name, call, claim }, life.lease));
  if (dice.chance(0.5)) await Promise.all(handled.map((run) => run()));
  else for (const run of handled) await run();
}

interface Held {
  hands: Hands;
  dice: Seeded;
  queue: Queue;
  name: string;
  call: number;
  claim: Claim;
}

async function handle(held: Held, lease: number): Promise<void> {
  const { dice } = held;
  const how = weighted(dice, [
    ['complete', 60],
    ['fail', 8],
    ['final', 3],
    ['release', 6],
    ['renew', 6],
    ['twice', 4],
    ['late', lease < 1000 ? 40 : 2],
    ['leave', 2],
  ] as const);
  switch (how) {
    case 'renew':
      await settle(held, 'renew', lease);
      await sleep(dice.below(30));
      return settle(held, 'complete', lease);
    case 'twice':
      await settle(held, dice.chance(0.5) ? 'complete' : 'release', lease);
      return settle(held, 'complete', lease);
    case 'late':
      // Past a short lease, so that it may be another's by now.
      await sleep(Math.min(lease, 1000) + dice.below(300));
      if (dice.chance(0.5)) await settle(held, 'renew', lease);
      return settle(held, 'complete', lease);
    case 'leave':
      return;
    default:
      return settle(held, how, lease);
  }
}

async function settle(held: Held, how: Ending, lease: number): Promise<void> {
  const { hands, dice, queue, name, call, claim } = held;
  const error = { at: new Date().toISOString(), attempt: 1, name: 'Error', message: 'once more' };
  const ms = 5 + dice.below(60);
  const asked = { claim: call, id: seen(claim).id, how, ...(how === 'fail' ? { due: now() + ms } : {}) };
  const settlement = {
    complete: { type: 'complete' },
    release: { type: 'release' },
    renew: { type: 'renew', lease },
    final: { type: 'fail', error },
    fail: { type: 'fail', error, due: Date.now() + ms },
  } as const;
  await hands.diary.call('settle', name, asked, () => queue.settle(claim, settlement[how]), Boolean);
}

async function take({ hands }: Actor, name: string): Promise<void> {
  const queue = await hands.queue(name);
  await hands.diary.call(
    'take',
    name,
    {},
    () => queue.take(),
    (message) => (message ? [given(message)] : []),
  );
}

// --- Looking --------------------------------------------------------------------------------------------------------------

async function find(actor: Actor, name: string): Promise<void> {
  const { hands, seen: known } = actor;
  const queue = await hands.queue(name);
  const act = async (): Promise<Seen[]> => {
    const found: Seen[] = [];
    for await (const message of queue.find({})) found.push(seen(message));
    return found;
  };
  const { answer } = await hands.diary.call('find', name, {}, act, (found) => found);
  known.set(name, answer);
}

export async function status(hands: Hands, name: string): Promise<void> {
  const queue = await hands.queue(name);
  await hands.diary.call(
    'status',
    name,
    {},
    () => queue.status(),
    ({ counts, processed, damaged }) => ({
      counts: [counts.ready, counts.deferred, counts.claimed, counts.disabled, counts.failed],
      processed,
      damaged,
    }),
  );
}

export async function verify(hands: Hands, name: string): Promise<void> {
  // Verifying makes no queue.
  await hands.queue(name);
  await hands.diary.call(
    'verify',
    name,
    {},
    () => verifyQueue(`${hands.root}/${name}`),
    ({ sound, damage, messages = 0 }) => ({
      sound,
      messages,
      damage: damage.map((one) => JSON.stringify(one)),
    }),
  );
}

// --- Changing -------------------------------------------------------------------------------------------------------------

/** One of the messages that were there lately. */
async function some(actor: Actor, name: string): Promise<Seen | undefined> {
  const { dice, seen: known } = actor;
  if (!known.has(name) || dice.chance(0.2)) await find(actor, name);
  const found = known.get(name)!;
  return found.length === 0 ? undefined : dice.pick(found);
}

async function update(actor: Actor, name: string): Promise<void> {
  const { hands, dice, life } = actor;
  const target = await some(actor, name);
  if (!target) return;
  const queue = await hands.queue(name);
  const { id, uuid } = target;
  const version = `${life.number}.u${++actor.names}`;
  const json = JSON.stringify(makePayload(id, version, sizeOf(dice)));
  await hands.diary.call('update', name, { id, version }, () => queue.update(uuid, { json }), Boolean);
}

async function set(actor: Actor, name: string): Promise<void> {
  const { hands, dice } = actor;
  const target = await some(actor, name);
  if (!target) return;
  const queue = await hands.queue(name);
  const patch = dice.chance(0.3)
    ? { due: Date.now() + dice.below(50) }
    : { due: null, disabled: dice.chance(0.2) };
  await hands.diary.call('set', name, { id: target.id }, () => queue.update(target.uuid, patch), Boolean);
}

async function remove(actor: Actor, name: string): Promise<void> {
  const { hands } = actor;
  const target = await some(actor, name);
  if (!target) return;
  const queue = await hands.queue(name);
  const act = (): Promise<number> => queue.change({ type: 'remove', uuid: target.uuid });
  await hands.diary.call('remove', name, { id: target.id }, act, Boolean);
}

async function cancel(actor: Actor, name: string): Promise<void> {
  const { hands } = actor;
  const target = await some(actor, name);
  if (!target) return;
  const queue = await hands.queue(name);
  const error = {
    at: new Date().toISOString(),
    attempt: 1,
    name: 'Cancelled',
    message: '',
    code: 'CANCELLED',
  };
  const act = (): Promise<number> => queue.change({ type: 'cancel', uuid: target.uuid, error });
  await hands.diary.call('cancel', name, { id: target.id }, act, Boolean);
}

export async function retry({ hands }: Pick<Actor, 'hands'>, name: string): Promise<void> {
  const queue = await hands.queue(name);
  const act = (): Promise<number> => queue.change({ type: 'retry', uuids: 'all' });
  await hands.diary.call('retry', name, {}, act, () => true);
}

const change =
  (type: 'pause' | 'resume' | 'purge'): ((actor: Pick<Actor, 'hands'>, name: string) => Promise<void>) =>
  async ({ hands }, name) => {
    const queue = await hands.queue(name);
    await hands.diary.call(
      type,
      name,
      {},
      () => queue.change({ type }),
      () => true,
    );
  };
const pause = change('pause');
export const resume = change('resume');
const purge = change('purge');

/** What concerns a whole queue, as far as that queue is there for it. */
async function whole(actor: Actor, name: string): Promise<void> {
  const { hands, dice } = actor;
  if (name === ALIASES) {
    await pause(actor, name);
    await sleep(dice.below(40));
    return resume(actor, name);
  }
  if (name !== FLEETING) return;
  if (dice.chance(0.4)) return purge(actor, name);
  await hands.diary.call('destroy', name, {}, () => hands.backend.destroy(name), Boolean);
  hands.forget(name);
}

const ROLES: { [role in Role]: Part } = {
  producer: {
    pause: 15,
    queues: [
      [JOBS, 5],
      [ALIASES, 3],
      [FLEETING, 2],
    ],
    steps: [[add, 1]],
  },
  worker: {
    pause: 5,
    queues: [
      [JOBS, 5],
      [ALIASES, 4],
      [FLEETING, 2],
    ],
    steps: [[work, 1]],
  },
  taker: {
    pause: 10,
    queues: [
      [JOBS, 2],
      [FLEETING, 1],
    ],
    steps: [[take, 1]],
  },
  changer: {
    pause: 20,
    queues: [
      [JOBS, 4],
      [ALIASES, 3],
      [FLEETING, 2],
    ],
    steps: [
      [update, 8],
      [set, 5],
      [remove, 4],
      [cancel, 2],
      [retry, 3],
      [(actor, name) => resume(actor, name), 2],
      [whole, 2],
    ],
  },
  watcher: {
    pause: 30,
    queues: [
      [JOBS, 2],
      [ALIASES, 2],
      [FLEETING, 1],
    ],
    steps: [
      [({ hands }, name) => status(hands, name), 4],
      [({ hands }, name) => verify(hands, name), 2],
      [find, 2],
    ],
  },
};

interface Part {
  /** Milliseconds between steps, at most. */
  pause: number;
  queues: readonly (readonly [string, number])[];
  steps: readonly (readonly [Step, number])[];
}
