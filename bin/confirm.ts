/** Asking a person before something is lost. */
import { createInterface } from 'node:readline';
import { QueueError } from '../src/errors.ts';
import { counted, grouped, note, safe } from './output.ts';

/** Declared by every verb that destroys: `.option(...YES)`. */
export const YES = ['--yes', 'do it without asking; needed where nobody can be asked'] as const;

/**
 * Whether it is to be done: at once with `--yes`, else as the person at the terminal says. Only `y` and `yes` mean yes;
 * Ctrl-C and the end of input mean no. After a no it has said that nothing was done.
 * @param loses what would be lost, with counts; looked up only when somebody is asked.
 * Errors: INVALID_ARGUMENT when stdin or stderr is no terminal.
 */
export async function confirm(yes: true | undefined, loses: () => Promise<string>): Promise<boolean> {
  if (yes) return true;
  requireTerminal();
  const answer = await ask(`${safe(await loses())} [y/N] `);
  if (/^\s*(y|yes)\s*$/i.test(answer)) return true;
  note('nothing was done');
  return false;
}

/** "3 messages (2 ready, 1 failed)"; "no messages" when all counts are 0. */
export function messagesIn(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).filter(([, count]) => count > 0);
  if (parts.length === 0) return 'no messages';
  const total = parts.reduce((sum, [, count]) => sum + count, 0);
  return `${counted(total, 'message')} (${parts.map(([state, count]) => `${grouped(count)} ${state}`).join(', ')})`;
}

/** Errors: INVALID_ARGUMENT. For verbs that would do something else before they ask. */
export function requireTerminal(): void {
  if (process.stdin.isTTY && process.stderr.isTTY) return;
  throw new QueueError(
    'INVALID_ARGUMENT',
    'expected --yes, because this loses messages and there is no terminal to ask at',
  );
}

/** A line from the terminal; '' after Ctrl-C and at the end of input. The question is on stderr: stdout is for data. */
function ask(question: string): Promise<string> {
  // Not as a terminal of readline's: the system's own line editing will do, and Ctrl-C stays a signal.
  const reader = createInterface({ input: process.stdin, terminal: false });
  return new Promise((resolve) => {
    const end = (answer: string): void => {
      process.off('SIGINT', giveUp);
      reader.off('close', giveUp);
      reader.close();
      resolve(answer);
    };
    const giveUp = (): void => {
      // What comes next begins a line of its own.
      process.stderr.write('\n');
      end('');
    };
    process.once('SIGINT', giveUp);
    reader.once('close', giveUp);
    reader.once('line', end);
    // Last: who sees the question may answer at once.
    process.stderr.write(question);
  });
}
