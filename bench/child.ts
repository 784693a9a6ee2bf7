/** A child process of the benchmark: does the one thing that it was started for, and sends the result. */
import { parentOfThisProcess, send, type FromChild, type Parent } from './parent.ts';
import { MODULES, type Job } from './roles.ts';

const { module, role, params } = JSON.parse(process.argv[2] ?? '') as Job;
const parent = parentOfThisProcess();
try {
  const roles = (await MODULES[module]()) as unknown as Record<
    string,
    (params: unknown, parent: Parent) => unknown
  >;
  end({ type: 'result', result: await roles[role]!(params, parent) });
} catch (error) {
  end({ type: 'error', error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}

function end(message: FromChild): void {
  // What listens to the parent would keep the process alive.
  send(message, () => process.exit());
}
