/**
 * What the processes of a run do: clients of one queue, each with lanes that work side by side on one handle. Runs inside
 * a process's realm; whatever is called and answered goes to the witness.
 */
import type { Env, Hands } from './env.ts';
import { closeQueue, sleep } from './env.ts';
import { open, openQueue } from './opening.ts';
import { STEPS } from './steps.ts';

export { finish } from './finish.ts';

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
  await closeQueue(env, hands.queue);
  await backend.close();
}

/** What a janitor does: no message is its own, but it sees that the queue is well and that nothing is left lying. */
const DUTIES: Env['weights'] = [
  ['idle', 4],
  ['status', 2],
  ['verify', 2],
  ['plan', 2],
  ['list', 2],
  ['find', 1],
  ['reopen', 1],
];

/** Opens the queue and looks after it: lets the claims of the dead lapse, seals what is spent, verifies, lists. */
export function tend(env: Env): Promise<void> {
  return work({ ...env, lanes: 1, weights: DUTIES });
}

async function lane(env: Env, hands: Hands): Promise<void> {
  const { choices } = env;
  for (let i = 0; i < env.steps; i++) {
    await sleep(env, choices.below(30) / 10);
    const step = choices.weighted(env.weights);
    const { queue } = hands;
    env.calls();
    try {
      await STEPS[step](env, hands);
    } catch (error) {
      env.judge(error, step);
      // Whoever is refused begins anew, or goes on as if nothing had happened: programs do either.
      if (hands.queue !== queue || choices.chance(0.4)) continue;
      const isPatient = choices.chance(0.6);
      if (isPatient) await closeQueue(env, queue);
      const fresh = await openQueue(env, hands.backend);
      if (!isPatient) await closeQueue(env, queue);
      if (hands.queue === queue) hands.queue = fresh;
      else await closeQueue(env, fresh);
    }
  }
}
