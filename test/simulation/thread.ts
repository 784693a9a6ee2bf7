/** One thread of a campaign. */
import { inspect } from 'node:util';
import { parentPort } from 'node:worker_threads';
import type { Finding, Task } from './campaign.ts';
import { Code, type Edit } from './realm.ts';
import { makeEngine, simulate, type Engine } from './simulate.ts';

/** Rejections that nobody has handled: each would end the process of a user. */
let unhandled: unknown[] = [];
let engine: { of: string; engine: Engine } | undefined;

function tell(finding: Finding): void {
  // A thread's port knows no origins.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  parentPort!.postMessage(finding);
}

export function serve(): void {
  process.on('unhandledRejection', (reason) => unhandled.push(reason));
  parentPort!.on('message', (task: Task) => {
    // Thrown here, not in a promise, an error ends the thread, and whoever waits for it hears why.
    const on = engineOf(task.edits);
    void work(task, on).then((finding) => tell(finding));
  });
}

function engineOf(edits: readonly Edit[]): Engine {
  const of = JSON.stringify(edits);
  if (engine?.of !== of) engine = { of, engine: makeEngine(new Code(edits)) };
  return engine.engine;
}

async function work({ first, count }: Task, on: Engine): Promise<Finding> {
  const met = new Map<string, number>();
  const finding: Finding = { seeds: 0, operations: 0, met: [], violation: undefined };
  for (let seed = first; seed < first + count && !finding.violation; seed++) {
    const outcome = await checked(seed, on);
    finding.seeds++;
    finding.operations += outcome.operations;
    for (const [what, times] of outcome.met) met.set(what, (met.get(what) ?? 0) + times);
    if (outcome.violation !== undefined) finding.violation = { seed, ...outcome.violation };
  }
  finding.met = [...met];
  return finding;
}

/** A run, and the turn of the event loop after it, in which rejections that nobody handles are told. */
async function checked(seed: number, on: Engine): Promise<ReturnType<typeof simulate>> {
  unhandled = [];
  const outcome = simulate(seed, on);
  await new Promise((resolve) => void setImmediate(resolve));
  // What the dead have left behind is nobody's.
  const [reason] = unhandled.map((each) => inspect(each)).filter((text) => !text.includes('EKILLED'));
  if (reason !== undefined)
    outcome.violation ??= { kind: 'crash', text: `a promise was rejected, and nobody handled it: ${reason}` };
  return outcome;
}
