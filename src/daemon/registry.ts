/** The daemons that are registered in code, one list for all of a process. */
import { QueueError, quote } from '../errors.ts';
import { isDaemon, type Daemon } from './daemon.ts';
import { checkDaemonName } from './name.ts';

type Registered = Daemon | (new () => Daemon);

// Who registers may have its own copy of this module.
const KEY = Symbol.for('coda-queue.daemons');
const shared = globalThis as { [KEY]?: Map<string, Registered> };

/**
 * Has `daemon`, an instance or a class, known as `name`, as if there were a file for it in the folder of daemons. The place
 * to call it is a file `index.ts`, `.js` or `.mjs` in that folder.
 * Errors: INVALID_ARGUMENT: no such name is possible, it is taken, or `daemon` is none.
 */
export function addDaemon(name: string, daemon: Daemon | (new () => Daemon)): void {
  checkDaemonName(name);
  const sound = typeof daemon === 'function' ? isDaemonClass(daemon) : isDaemon(daemon);
  if (!sound) {
    throw new QueueError(
      'INVALID_ARGUMENT',
      `daemon ${name}: expected an instance of a class that extends Daemon, or the class, received ${quote(daemon)}`,
    );
  }
  if (registered().has(name))
    throw new QueueError('INVALID_ARGUMENT', `a daemon named ${name} is registered already`);
  registered().set(name, daemon);
}

/** What is registered by now. */
export function registered(): Map<string, Registered> {
  shared[KEY] ??= new Map();
  return shared[KEY];
}

function isDaemonClass(value: new () => Daemon): boolean {
  // Instances of a class have its methods, own fields only when they are made.
  return typeof (value.prototype as Partial<Daemon> | undefined)?.executeStart === 'function';
}
