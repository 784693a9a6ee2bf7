/** The single things that clients do. */
import type { NewMessage, Queue } from '../../src/backend.ts';
import { planRepair } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { claim } from './claiming.ts';
import { dataOf, type Entry } from './entries.ts';
import {
  all,
  closeQueue,
  errorOf,
  numberOf,
  Q,
  ripen,
  ROOT,
  sleep,
  unlessLost,
  type Env,
  type Hands,
  type Step,
} from './env.ts';
import { KEPT_OUTCOMES, openQueue } from './opening.ts';

const FAR = Date.UTC(2100, 0, 1);

export const STEPS: { [name in Step]: (env: Env, hands: Hands) => Promise<void> } = {
  add: (env, { queue }) => add(env, queue, 1),
  addMany: (env, { queue }) => add(env, queue, 2 + env.choices.below(6)),
  claim: (env, { queue }) => claim(env, queue),

  async take(env, { queue }) {
    const { witness, claims, process, say } = env;
    const call = claims.taking(process);
    const message = await unlessLost(witness, call, queue.take());
    say(`took ${message ? numberOf(message) : 'nothing'}`);
    claims.took(call, message);
    if (message) ripen(env, queue, () => witness.ripened([witness.known(message)], 'ended'));
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

  async status({ witness, audit }, { queue }) {
    const expected = witness.attributes.expected();
    const since = witness.tick();
    const status = await queue.status();
    witness.attributesSeen(status.customAttributes, expected);
    audit.counted(status, since);
  },

  async update(env, { queue }) {
    const { witness, choices, process, say } = env;
    const entry = witness.some((limit) => choices.below(limit));
    // One at a time: which of two comes last is for the log to say.
    if (!entry || entry.changing || entry.held) return;
    const call = witness.updating(process, entry);
    const json = JSON.stringify(dataOf(entry.id, call.version));
    say(`update ${entry.id} to version ${call.version}`);
    const found = await unlessLost(witness, call, queue.update(entry.uuid!, { json }));
    say(`updated ${entry.id}: ${found ? 'there' : 'not there'}`);
    witness.updated(call, found);
    if (found) ripen(env, queue, () => witness.ripened([entry], { version: call.version }));
  },

  async remove(env, { queue }) {
    const { witness, choices, say } = env;
    const entry = witness.some((limit) => choices.below(limit));
    if (!entry) return;
    const since = witness.removing(entry);
    say(`remove ${entry.id}`);
    const count = await queue.change({ type: 'remove', uuid: entry.uuid! });
    say(`removed ${entry.id}: ${count}`);
    witness.removed(entry, count, since);
    if (count === 1) ripen(env, queue, () => witness.ripened([entry], 'ended'));
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
    const { witness, claims, choices, process } = env;
    if (choices.chance(0.4)) {
      const call = claims.pausing(process);
      await unlessLost(witness, call, queue.change({ type: 'pause' }));
      claims.pausingDone(call, true);
      await sleep(env, choices.below(10));
    }
    const call = claims.pausing(process);
    await unlessLost(witness, call, queue.change({ type: 'resume' }));
    claims.pausingDone(call, false);
  },

  async purge({ witness, process, met }, { queue }) {
    const call = witness.sweeping(process, false);
    await unlessLost(witness, call, queue.change({ type: 'purge' }));
    witness.swept(call, false);
    met('purged');
  },

  async destroy(env, { backend }) {
    const { witness, process, met, say } = env;
    const call = witness.sweeping(process, true);
    say('destroy');
    const destroyed = await unlessLost(witness, call, backend.destroy(Q));
    say(`destroyed: ${destroyed}`);
    // What another has created and filled meanwhile is as good as destroyed for the witness.
    witness.swept(call, destroyed);
    if (destroyed) met('destroyed');
  },

  async attribute(env, { queue }) {
    const { witness, process } = env;
    const key = process.name;
    const setting = witness.attributes.setting(key);
    if (!setting) return;
    witness.tick();
    try {
      await queue.change({ type: 'attributes', patch: { [key]: setting.value } });
      setting.answered();
      ripen(env, queue, () => {
        if (!witness.excuses.suspends('interval')) setting.ripened();
      });
    } finally {
      setting.over();
    }
  },

  async reopen(env, hands) {
    const old = hands.queue;
    const fresh = await openQueue(env, hands.backend);
    if (hands.queue !== old) return closeQueue(env, fresh);
    hands.queue = fresh;
    await closeQueue(env, old);
  },

  async verify(env, { queue }) {
    // Damage is told from what a power cut took by the mark that the first write after it sets.
    await queue.change({ type: 'attributes', patch: {} });
    env.audit.verified(await verifyQueue(`${ROOT}/${Q}`, env.readOnly));
    env.met('verified');
  },

  async plan(env, { queue }) {
    await queue.change({ type: 'attributes', patch: {} });
    const options = { keepOutcomes: KEPT_OUTCOMES, ports: env.readOnly };
    env.audit.planned(await planRepair(`${ROOT}/${Q}`, options));
    env.met('repairs planned');
  },

  async list({ witness, met }, { backend }) {
    const since = witness.tick();
    const names = await backend.list();
    if (!names.includes(Q)) witness.notFound(since);
    const again = witness.tick();
    if (!(await backend.exists(Q))) witness.notFound(again);
    met('listed');
  },

  async idle({ choices }, { queue }) {
    await queue.wait(1 + choices.below(3000), undefined);
  },
};

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
    // What several ask for at the same time, before any of it is on the disk; and what has long been there.
    const latest = `n${Math.floor(witness.entries.size / 3)}`;
    const alias = options.uniqueAlias ? choices.pick(['', 'a', 'b', 'c', 'd', latest, latest, latest]) : '';
    const entry = witness.adding(queue, { alias, plain: kind === 'plain', held: kind === 'far' });
    const json = JSON.stringify(dataOf(entry.id, 0));
    const due = kind === 'far' ? FAR : kind === 'due' ? env.ports.clock.now() + choices.below(20) : undefined;
    entries.push(entry);
    // An add that says no more than most do is read in another way.
    const retries = entry.id % 2 === 0 ? 0 : 3;
    const message = { json, alias, retries, disabled: kind === 'disabled', username: '' };
    messages.push(due === undefined ? message : { ...message, due });
  }
  const numbers = entries.map(({ id }) => id).join(' ');
  say(`add ${numbers}`);
  try {
    const added = await queue.add(messages);
    say(`added ${numbers}${added.some(({ duplicate }) => duplicate) ? ', some as duplicates' : ''}`);
    for (const [i, entry] of entries.entries()) witness.added(entry, added[i]!);
    const anew = entries.filter((_, i) => !added[i]!.duplicate);
    ripen(env, queue, () => witness.ripened(anew, 'added'));
    if (added.some(({ duplicate }) => duplicate)) env.met('duplicates');
  } catch (error) {
    const { code } = error as { code?: string };
    say(`add ${numbers} refused: ${code}`);
    if (count === 1 && code === 'STORAGE_FULL') witness.refusedAdd(entries[0]!);
    if (count === 1 && code === 'QUEUE_FULL') witness.refusedAsFull(entries[0]!);
    if (code !== 'STORAGE_FULL' && code !== 'QUEUE_FULL') throw error;
    env.met(code);
  }
}
