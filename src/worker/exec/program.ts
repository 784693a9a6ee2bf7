/** Whether there is the program of a command, asked before the first message: a misspelt one would fail them all. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { QueueError, quote } from '../../errors.ts';

/**
 * Looks where the system will: a name with a slash is a path, any other is looked for in PATH.
 * Errors: INVALID_ARGUMENT: there is none, or this account may not run it.
 */
export async function findProgram(program: string): Promise<void> {
  const path = process.env['PATH'] ?? '/usr/bin:/bin';
  const isPath = program.includes('/');
  const places = isPath ? [program] : path.split(delimiter).map((folder) => join(folder, program));
  let refused: string | undefined;
  for (const place of places) {
    const why = await refusal(place);
    if (why === undefined) return;
    if (why !== 'ENOENT' && why !== 'ENOTDIR') refused ??= `${quote(place, 300)}: ${why}`;
  }
  const found = refused ?? `found none${isPath ? '' : ` in PATH (${quote(path, 500)})`}`;
  throw new QueueError(
    'INVALID_ARGUMENT',
    `expected ${quote(program, 300)} to be a program that can be run; ${found}`,
    isPath ? { path: program } : {},
  );
}

async function refusal(file: string): Promise<string | undefined> {
  try {
    if (!(await stat(file)).isFile()) return 'not a file';
    await access(file, constants.X_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
