/** What the end of a command means for its message. */
import { FinalError } from '../worker.ts';
import type { Exit } from './group.ts';

/** EX_DATAERR of sysexits.h: the message is at fault, and will be the next time. */
const FINAL_EXIT = 65;

/** Returns when the message is completed, else throws what is kept of the try; its stack is the end of stderr. */
export function judge({ code, signal }: Exit, stderr: string): void {
  if (code === 0) return;
  const how = signal === null ? `command exited with ${code}` : `command was ended by ${signal}`;
  const error = code === FINAL_EXIT ? new FinalError(how) : new CommandFailed(how);
  throw told(error, signal ?? `EXIT_${code}`, stderr);
}

/** Of a try that was aborted, whatever the command exited with: many programs exit with 0 when they are told to end. */
export function abandoned(reason: unknown, stderr: string): Error {
  const { code, message } = reason as { code?: string; message?: string };
  // Where somebody else finds the words for the try, those of its cause are all that is kept.
  const last = stderr.slice(stderr.lastIndexOf('\n') + 1);
  const how = `command was ended: ${message ?? String(reason)}${last === '' ? '' : `; it had said: ${last}`}`;
  return told(new CommandFailed(how, { cause: reason }), code ?? 'ABORTED', stderr);
}

/** Of a command that could not be started: the system may have been short of something, so it is tried again. */
export function notStarted(cause: unknown): Error {
  const { code, message } = cause as NodeJS.ErrnoException;
  return told(new CommandFailed(`command could not be started: ${message}`, { cause }), code ?? 'SPAWN', '');
}

class CommandFailed extends Error {
  override readonly name = 'CommandFailed';
}

/** Where the error was made inside Coda says nothing about the command. */
function told(error: Error, code: string, stderr: string): Error {
  const stack = stderr === '' ? '' : `stderr:\n${stderr}`;
  return Object.assign(error, { code, stack });
}
