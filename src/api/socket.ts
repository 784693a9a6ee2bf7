/**
 * Listening on a unix socket in a way that survives deaths: a socket whose process is dead is replaced, one whose process
 * lives never is. The socket is made under a name that nobody knows, closed to all other accounts, and then linked to the
 * name that all know, which only one process can do at a time.
 */
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { knockAt, listenNameOf } from './address.ts';

const DRAFT = /^\.api-d[0-9a-f]{8}$/;
/** Tries against others who take and leave the same place meanwhile. */
const MOST_TRIES = 10;

const windows = process.platform === 'win32';

/**
 * Resolves when the server can be reached at `path`, by its own account only, with what takes the name away again. The
 * folder is made if absent, open to its owner only.
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
  const draft = join(folder, `.api-d${randomBytes(4).toString('hex')}`);
  let own: string | undefined;
  try {
    const up = listening(server, draft, path);
    // The call has bound it already; nobody else knows its name yet.
    fs.chmodSync(draft, 0o600);
    await up;
    own = idOf(draft);
    await take(path, draft);
  } catch (cause) {
    server.close();
    fs.rmSync(draft, { force: true });
    throw cause instanceof QueueError ? cause : failed(path, (cause as NodeJS.ErrnoException).code, cause);
  }
  fs.rmSync(draft, { force: true });
  return () => {
    // Not what another process has put there since.
    if (idOf(path) === own) fs.rmSync(path, { force: true });
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

/**
 * Gives the socket at `draft` the name `path`. To replace a dead socket a process first links its own to a name that the
 * dead one's inode makes, which one process at a time can: its heir. An heir may have died too, and so has an heir of its own.
 * While somebody is the last heir, nobody else replaces what stands at `path`, so that it can be looked at and then replaced.
 */
async function take(path: string, draft: string): Promise<void> {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    if (linked(draft, path)) return;
    const dead = await deadAt(path);
    if (dead === undefined) continue;
    const heirs: string[] = [];
    for (let last: string | undefined = dead; last !== undefined;) {
      const heir = heirNameOf(path, last);
      heirs.push(heir);
      if (linked(draft, heir)) break;
      // Gone: somebody has come to the end, and cleared up.
      last = await deadAt(heir);
    }
    const mine = heirs.at(-1) ?? draft;
    if (idOf(mine) !== idOf(draft)) continue;
    if (idOf(path) === dead) {
      fs.renameSync(draft, path);
      for (const heir of heirs) fs.rmSync(heir, { force: true });
      return;
    }
    // It has been replaced while the way was free.
    fs.rmSync(mine);
  }
  throw failed(path, 'others take it again and again');
}

function linked(draft: string, path: string): boolean {
  try {
    fs.linkSync(draft, path);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw cause;
  }
}

/** A name beside `path`, no longer than it may be, for who succeeds the socket of that id. */
function heirNameOf(path: string, id: string): string {
  const digest = createHash('sha256').update(`${path}\0${id}`).digest('hex');
  return join(dirname(path), `.api-h${digest.slice(0, 8)}`);
}

/** Neither changes as the socket gets and loses names. Undefined: nothing is there. */
function idOf(path: string): string | undefined {
  const found = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found && `${found.ino}-${found.mtimeNs}`;
}

/** The id of the dead socket there; undefined: nothing is there. Errors: as of `refuseLiving`. */
async function deadAt(path: string): Promise<string | undefined> {
  const id = idOf(path);
  await refuseLiving(path);
  // What was found dead has been there all the time, or is asked about once more.
  return idOf(path) === id ? id : undefined;
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
    if (DRAFT.test(name) && (await knockAt(path)) === 'dead') fs.rmSync(path, { force: true });
  }
}

function prepareFolder(folder: string): void {
  let mode: number;
  try {
    makeFolder(folder);
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
