/** The single things that clients do. */
import type { NewMessage, Queue } from '../../src/backend.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { claim } from './claiming.ts';
import { dataOf, type Entry } from './entries.ts';
import {
  all,
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
import { openQueue } from './opening.ts';

const FAR = Date.UTC(2100, 0, 1);

export const STEPS: { [name in Step]: (env: Env, hands: Hands) => Promise<void> } = {
  add: (env, { queue }) => add(env, queue, 1),
  addMany: (env, { queue }) => add(env, queue, 2 + env.choices.below(6)),
  claim: (env, { queue }) => claim(env, queue),

  async take({ witness, claims, process, say }, { queue }) {
    const call = claims.taking(process);
    const message = await unlessLost(witness, call, queue.take());
    say(`took ${message ? numberOf(message) : 'nothing'}`);
    claims.took(call, message);
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
    if (found) ripen(env, [entry], { version: call.version });
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
    if (count === 1) ripen(env, [entry], 'ended');
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

  async attribute({ witness, process }, { queue }) {
    const key = process.name;
    const setting = witness.attributes.setting(key);
    if (!setting) return;
    witness.tick();
    try {
      await queue.change({ type: 'attributes', patch: { [key]: setting.value } });
      setting.answered();
    } finally {
      setting.over();
    }
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
    env.audit.verified(await verifyQueue(`${ROOT}/${Q}`, env.ports));
    env.met('verified');
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
    const alias = options.uniqueAlias ? choices.pick(['', 'a', 'b', 'c', 'd']) : '';
    const entry = witness.adding(queue, { alias, plain: kind === 'plain', held: kind === 'far' });
    const json = JSON.stringify(dataOf(entry.id, 0));
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
    ripen(
      env,
      entries.filter((_, i) => !added[i]!.duplicate),
      'added',
    );
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
