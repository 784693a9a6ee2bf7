/**
 * What the processes of a run do: clients of one queue, each with lanes that work side by side on one handle. Runs inside
 * a process's realm; whatever is called and answered goes to the witness.
 */
import type { Backend, Durability, NewMessage, Queue, QueueOptions } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Claim, Message } from '../../src/message.ts';
import type { Stream } from './choices.ts';
import type { Process } from './machine.ts';
import type { Entry, Held, Witness } from './witness.ts';

export const ROOT = '/srv/queues';
export const Q = 'jobs';

export type Step =
  | 'add'
  | 'addMany'
  | 'claim'
  | 'take'
  | 'find'
  | 'look'
  | 'status'
  | 'update'
  | 'remove'
  | 'cancel'
  | 'retry'
  | 'pause'
  | 'purge'
  | 'destroy'
  | 'attribute'
  | 'reopen'
  | 'verify';

export interface Env {
  process: Process;
  ports: Ports;
  witness: Witness;
  choices: Stream;
  durability: Durability;
  segmentBytes: number;
  options: QueueOptions;
  lease: number;
  lanes: number;
  /** Of each lane. */
  steps: number;
  weights: readonly (readonly [Step, number])[];
  /** Judges an error: throws it when nothing that has happened explains it. */
  judge: (error: unknown, during: string) => void;
  /** The program has come to its end, or failed. */
  done: (error: unknown) => void;
  /** It can do no more, and nobody is to blame. */
  leave: () => void;
  /** Says in the trace what is called and answered. */
  say: (text: string) => void;
  /** The machine's time in milliseconds. */
  time: () => number;
  /** Something was met that a run should meet. */
  met: (what: string) => void;
}

interface Hands {
  backend: Backend;
  queue: Queue;
}

export async function run(env: Env, program: (env: Env) => Promise<void>): Promise<void> {
  try {
    await program(env);
    env.done(undefined);
  } catch (error) {
    try {
      env.judge(error, program.name);
      env.leave();
    } catch (unexplained) {
      env.done(unexplained);
    }
  }
}

export async function work(env: Env): Promise<void> {
  const backend = await open(env);
  const hands = { backend, queue: await openQueue(env, backend) };
  await Promise.all(Array.from({ length: env.lanes }, () => lane(env, hands)));
  await backend.close();
}

async function open(env: Env): Promise<Backend> {
  for (;;) {
    try {
      return await openRoot(env);
    } catch (error) {
      env.judge(error, 'open');
      await sleep(env, 1);
    }
  }
}

function openRoot({ ports, durability, segmentBytes }: Env): Promise<Backend> {
  return openCache({
    cacheRoot: ROOT,
    durability,
    syncInterval: 5,
    fileMode: 0o600,
    keepOutcomes: 3,
    crashLimit: 1000,
    segmentBytes,
    ports,
  });
}

/** Opens the queue, which another may be destroying; creates it where there is none. */
async function openQueue(env: Env, backend: Backend): Promise<Queue> {
  for (let attempt = 0; ; attempt++) {
    try {
      if (await backend.create(Q, env.options)) env.met('created');
      return await backend.open(Q);
    } catch (error) {
      env.judge(error, 'open');
      // What has rotted stays so.
      if (attempt === TRIES) env.leave();
      await sleep(env, 1);
    }
  }
}

async function lane(env: Env, hands: Hands): Promise<void> {
  const { choices } = env;
  for (let i = 0; i < env.steps; i++) {
    await sleep(env, choices.below(30) / 10);
    const step = choices.weighted(env.weights);
    const { queue } = hands;
    try {
      await STEPS[step](env, hands);
    } catch (error) {
      env.judge(error, step);
      // Whoever is refused begins anew, as programs do.
      if (hands.queue !== queue) continue;
      await queue.close();
      const fresh = await openQueue(env, hands.backend);
      if (hands.queue === queue) hands.queue = fresh;
      else await fresh.close();
    }
  }
}

function sleep({ ports }: Env, ms: number): Promise<void> {
  return new Promise((resolve) => void ports.clock.timer(ms, resolve));
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** How often a queue that cannot be opened is tried again. */
const TRIES = 50;
const FAR = Date.UTC(2100, 0, 1);

const STEPS: { [name in Step]: (env: Env, hands: Hands) => Promise<void> } = {
  add: (env, { queue }) => add(env, queue, 1),
  addMany: (env, { queue }) => add(env, queue, 2 + env.choices.below(6)),
  claim: (env, { queue }) => claim(env, queue),

  async take({ witness, process, say }, { queue }) {
    const call = witness.taking(process);
    const message = await unlessLost(witness, call, queue.take());
    say(`took ${message ? numberOf(message) : 'nothing'}`);
    witness.took(call, message);
  },

  async find({ witness, say }, { queue }) {
    const since = witness.tick();
    const found = await all(queue.find({}));
    say(`found ${found.map(numberOf).join(' ')}`);
    witness.found(found, since);
  },

  async look({ witness, choices, say }, { queue }) {
    const entry = witness.some((limit) => choices.below(limit));
    if (!entry) return;
    const since = witness.tick();
    const [found] = await all(queue.find({ uuid: entry.uuid! }));
    say(`looked for ${entry.id}: ${found ? 'there' : 'not there'}`);
    witness.looked(entry, found, since);
  },

  async status({ witness }, { queue }) {
    const expected = witness.attributes;
    const since = witness.tick();
    const status = await queue.status();
    witness.attributesSeen(status.customAttributes, expected);
    witness.counted(status, since);
  },

  async update(env, { queue }) {
    const { witness, choices, process, say } = env;
    const entry = witness.some((limit) => choices.below(limit));
    // One at a time: which of two comes last is for the log to say.
    if (!entry || entry.changing || entry.held) return;
    const call = witness.updating(process, entry);
    const json = JSON.stringify(witness.data(entry.id, call.version));
    say(`update ${entry.id} to version ${call.version}`);
    const found = await unlessLost(witness, call, queue.update(entry.uuid!, { json }));
    say(`updated ${entry.id}: ${found ? 'there' : 'not there'}`);
    witness.updated(call, found);
  },

  async remove({ witness, choices, say }, { queue }) {
    const entry = witness.some((limit) => choices.below(limit));
    if (!entry) return;
    witness.dooming(entry);
    say(`remove ${entry.id}`);
    const count = await queue.change({ type: 'remove', uuid: entry.uuid! });
    say(`removed ${entry.id}: ${count}`);
    if (count === 1) witness.removed(entry);
  },

  async cancel(env, { queue }) {
    const { witness, choices, say } = env;
    const entry = witness.some((limit) => choices.below(limit));
    if (!entry) return;
    witness.cancelling(entry);
    say(`cancel ${entry.id}`);
    await queue.change({ type: 'cancel', uuid: entry.uuid!, error: errorOf(env) });
  },

  async retry(_, { queue }) {
    await queue.change({ type: 'retry', uuids: 'all' });
  },

  async pause(env, { queue }) {
    const { witness, choices, process } = env;
    if (choices.chance(0.4)) {
      const call = witness.pausing(process);
      await unlessLost(witness, call, queue.change({ type: 'pause' }));
      witness.pausingDone(call, true);
      await sleep(env, choices.below(10));
    }
    const call = witness.pausing(process);
    await unlessLost(witness, call, queue.change({ type: 'resume' }));
    witness.pausingDone(call, false);
  },

  async purge({ witness, process, met }, { queue }) {
    const call = witness.sweeping(process);
    await unlessLost(witness, call, queue.change({ type: 'purge' }));
    witness.swept(call, false);
    met('purged');
  },

  async destroy(env, { backend }) {
    const { witness, process, met, say } = env;
    const call = witness.sweeping(process);
    say('destroy');
    const destroyed = await unlessLost(witness, call, backend.destroy(Q));
    say(`destroyed: ${destroyed}`);
    // What another has created and filled meanwhile is as good as destroyed for the witness.
    witness.swept(call, destroyed);
    if (destroyed) met('destroyed');
  },

  async attribute({ witness, process }, { queue }) {
    const key = process.name;
    const value = witness.attributing(key);
    await queue.change({ type: 'attributes', patch: { [key]: value } });
    witness.attributed(key, value);
  },

  async reopen(env, hands) {
    const old = hands.queue;
    const fresh = await openQueue(env, hands.backend);
    if (hands.queue !== old) return fresh.close();
    hands.queue = fresh;
    await old.close();
  },

  async verify(env, { queue }) {
    // Damage is told from what a power cut took by the mark that the first write after it sets.
    await queue.change({ type: 'attributes', patch: {} });
    env.witness.verified(await verifyQueue(`${ROOT}/${Q}`, env.ports));
  },
};

function numberOf({ data }: Message): number {
  return (data as { id: number }).id;
}

/** The answer; when the call is refused, nobody knows what it has done. */
async function unlessLost<T>(
  witness: Witness,
  call: Parameters<Witness['lost']>[0],
  answer: Promise<T>,
): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    witness.lost(call);
    throw error;
  }
}

async function add(env: Env, queue: Queue, count: number): Promise<void> {
  const { witness, choices, options, say } = env;
  const entries: Entry[] = [];
  const messages: NewMessage[] = [];
  for (let i = 0; i < count; i++) {
    const kind = choices.weighted([
      ['plain', 12],
      ['due', 2],
      ['disabled', 1],
      ['far', 1],
    ] as const);
    const alias = options.uniqueAlias ? choices.pick(['', 'a', 'b', 'c', 'd']) : '';
    const entry = witness.adding(queue, { alias, plain: kind === 'plain', held: kind === 'far' });
    const json = JSON.stringify(witness.data(entry.id, 0));
    const due = kind === 'far' ? FAR : kind === 'due' ? env.ports.clock.now() + choices.below(20) : undefined;
    entries.push(entry);
    const message = { json, alias, retries: 3, disabled: kind === 'disabled', username: '' };
    messages.push(due === undefined ? message : { ...message, due });
  }
  const numbers = entries.map(({ id }) => id).join(' ');
  say(`add ${numbers}`);
  try {
    const added = await queue.add(messages);
    say(`added ${numbers}${added.some(({ duplicate }) => duplicate) ? ', some as duplicates' : ''}`);
    for (const [i, entry] of entries.entries()) witness.added(entry, added[i]!);
  } catch (error) {
    const { code } = error as { code?: string };
    say(`add ${numbers} refused: ${code}`);
    if (count === 1 && code === 'STORAGE_FULL') witness.refusedAdd(entries[0]!);
    if (count === 1 && code === 'QUEUE_FULL') witness.refusedAsFull(entries[0]!);
    if (code !== 'STORAGE_FULL' && code !== 'QUEUE_FULL') throw error;
    env.met(code);
  }
}

async function claim(env: Env, queue: Queue): Promise<void> {
  const { witness, choices, process, say } = env;
  const lease = env.lease;
  const began = env.time();
  const call = witness.claiming(process);
  const claims = await unlessLost(witness, call, queue.claim(1 + choices.below(3), lease));
  say(`claimed ${claims.length === 0 ? 'nothing' : claims.map(numberOf).join(' ')}`);
  const held = witness.claimed(call, claims, began, lease);
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

async function renew(env: Env, queue: Queue, held: Held, lease: number): Promise<void> {
  const { witness, say } = env;
  const began = env.time();
  const since = witness.settling(held, 'renew');
  const applied = await queue.settle(held.claim, { type: 'renew', lease });
  say(`renewed ${held.entry.id}: ${applied}`);
  witness.settled(held, 'renew', applied, since);
  if (!applied) return;
  witness.renewed(held, began, lease);
  await sleep(env, env.choices.below(lease));
}

async function settle(
  env: Env,
  queue: Queue,
  held: Held,
  how: 'complete' | 'fail' | 'release',
): Promise<void> {
  const { witness, choices, say } = env;
  const since = witness.settling(held, how);
  const due = choices.chance(0.5) ? env.ports.clock.now() + choices.below(10) : undefined;
  const failure = { type: 'fail' as const, error: errorOf(env), ...(due === undefined ? {} : { due }) };
  const applied = await queue.settle(held.claim, how === 'fail' ? failure : { type: how });
  say(`${how} ${held.entry.id}: ${applied}`);
  witness.settled(held, how, applied, since);
}

function errorOf({ ports }: Env): { at: string; attempt: number; name: string; message: string } {
  return { at: new Date(ports.clock.now()).toISOString(), attempt: 1, name: 'Error', message: 'no' };
}

/** When all is over: one process, and no faults. Everything that is in the queue is worked off, in order. */
export async function finish(env: Env): Promise<void> {
  const { witness } = env;
  const backend = await open(env);
  const queue = await openQueue(env, backend);
  // Also, a record that lacks nothing but its newline counts from now on.
  await queue.change({ type: 'attributes', patch: {} });
  const since = witness.tick();
  const found = await all(queue.find({}));
  env.say(`found ${found.map(numberOf).join(' ')}`);
  witness.found(found, since);
  witness.ended(found, await queue.status());
  const report = await verifyQueue(`${ROOT}/${Q}`, env.ports);
  witness.verified(report, found.length);
  witness.freeing(found);
  await queue.change({ type: 'resume' });
  await queue.change({ type: 'retry', uuids: 'all' });
  for (const { uuid, disabled, dateTimeDeferredExecution } of found) {
    if (disabled || dateTimeDeferredExecution) await queue.update(uuid, { disabled: false, due: null });
  }
  await drain(env, queue, found);
  await backend.close();
}

async function drain(env: Env, queue: Queue, found: readonly Message[]): Promise<void> {
  const { witness } = env;
  const drained: Claim[] = [];
  const goal = found.length;
  while (drained.length < goal) {
    const call = witness.claiming(env.process);
    const claims = await queue.claim(4, 60_000);
    witness.claimed(call, claims, env.time(), 60_000);
    // Claims of processes that are no more are over when their lease is.
    if (claims.length === 0 && !(await queue.wait(200_000, undefined))) break;
    for (const one of claims) {
      await queue.settle(one, { type: 'complete' });
    }
    drained.push(...claims);
  }
  witness.drained(found, drained, await queue.status());
}
