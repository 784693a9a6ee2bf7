/**
 * What the processes of a run do: clients of one queue, each with lanes that work side by side on one handle. Runs inside
 * a process's realm; whatever is called and answered goes to the witness.
 */
import type { Env, Hands } from './env.ts';
import { sleep } from './env.ts';
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
  await backend.close();
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
