/**
 * Listening on a unix socket in a way that survives deaths: a socket whose process is dead is replaced, one whose process
 * lives never is. The socket is made under a name that nobody knows, closed to all other accounts, and then linked to the
 * name that all know, which only one process can do at a time.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import { knockAt, listenNameOf } from './address.ts';

const DRAFT = /^\.api-[0-9a-f]{8}$/;
/** Tries against others who take and leave the same place meanwhile. */
const MOST_TRIES = 10;

const windows = process.platform === 'win32';

/**
 * Resolves when the server can be reached at `path`, by its own account only, with what takes the name away again, to be
 * called when the server has closed. The folder is made if absent, open to its owner only.
 * Errors: API_FAILED: a process that lives has it, something else stands there, or the system refuses; CONFIG_INVALID:
 * everybody may change the folder.
 */
export async function listenOnSocket(server: Server, path: string): Promise<() => void> {
  if (windows) {
    await listening(server, listenNameOf(path), path);
    return () => undefined;
  }
  const folder = dirname(path);
  prepareFolder(folder);
  await removeDrafts(folder);
  const draft = join(folder, `.api-${randomBytes(4).toString('hex')}`);
  try {
    const up = listening(server, draft, path);
    // The call has bound it already; nobody else knows its name yet.
    fs.chmodSync(draft, 0o600);
    await up;
    await take(path, draft);
  } catch (cause) {
    server.close();
    fs.rmSync(draft, { force: true });
    throw cause instanceof QueueError ? cause : failed(path, (cause as NodeJS.ErrnoException).code, cause);
  }
  const { ino } = fs.lstatSync(draft);
  fs.rmSync(draft);
  return () => {
    // Not what another process has put there since.
    if (fs.lstatSync(path, { throwIfNoEntry: false })?.ino === ino) fs.rmSync(path, { force: true });
  };
}

function listening(server: Server, name: string, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException): void => reject(failed(path, cause.code, cause));
    server.once('error', fail).listen(name, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

/** Gives the socket at `draft` the name `path` as well. */
async function take(path: string, draft: string): Promise<void> {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    try {
      fs.linkSync(draft, path);
      return;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    }
    await refuseLiving(path);
    // Whatever stands there by now is moved to where nobody else looks, and only then judged: two who find the same dead
    // socket cannot take each other's away.
    const grave = `${draft}-old`;
    try {
      fs.renameSync(path, grave);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw cause;
    }
    try {
      await refuseLiving(grave);
      fs.rmSync(grave);
    } catch (cause) {
      fs.renameSync(grave, path);
      throw cause;
    }
  }
  throw failed(path, 'others take it again and again');
}

/** Errors: API_FAILED, unless it is a socket of a process that is dead, or nothing at all. */
async function refuseLiving(path: string): Promise<void> {
  const found = fs.lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  // The system says of a plain file, too, that nobody listens.
  if (!found.isSocket()) throw failed(path, 'something that is no socket stands there');
  const answer = await knockAt(path);
  if (answer === 'alive') throw failed(path, 'another process listens there already');
  if (answer === 'unknown') throw failed(path, 'another process has it, or another account');
}

/** What processes have left that died between two steps. */
async function removeDrafts(folder: string): Promise<void> {
  for (const name of fs.readdirSync(folder)) {
    const path = join(folder, name);
    if (DRAFT.test(name.replace(/-old$/, '')) && (await knockAt(path)) === 'dead')
      fs.rmSync(path, { force: true });
  }
}

function prepareFolder(folder: string): void {
  let mode: number;
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    ({ mode } = fs.statSync(folder));
  } catch (cause) {
    throw failed(folder, (cause as NodeJS.ErrnoException).code, cause);
  }
  // With the sticky bit, as in /tmp, nobody removes what is another's.
  if ((mode & 0o002) === 0 || (mode & 0o1000) !== 0) return;
  throw new QueueError(
    'CONFIG_INVALID',
    `[api] apiSocket: expected a folder that not everybody may change, for they could put a socket of their own there; ` +
      `${quote(folder, 300)} has mode ${(mode & 0o7777).toString(8)}`,
    { path: folder },
  );
}

function failed(path: string, why = 'the system refuses', cause?: unknown): QueueError {
  return new QueueError('API_FAILED', `the control API cannot listen on ${quote(path, 300)}: ${why}`, {
    path,
    ...(cause === undefined ? {} : { cause }),
  });
}
