/** Where the control API is found. Light: `queue-daemon ctl` needs it too. */
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { QueueError, quote } from '../errors.ts';

/** Bytes of a socket's path, without the 0 behind it: a longer one the system cuts without a word. */
export const LONGEST_SOCKET_PATH = process.platform === 'linux' ? 107 : 103;
/** Milliseconds. */
const PATIENCE = 2000;

const windows = process.platform === 'win32';

/**
 * The path of the socket, absolute.
 * Errors: CONFIG_INVALID: the system takes no path of that length.
 */
export function socketPathOf({ api, daemon, file }: Pick<Config, 'api' | 'daemon' | 'file'>): string {
  const path = api.apiSocket === '' ? join(daemon.stateDir, 'supervisor.sock') : api.apiSocket;
  const bytes = Buffer.byteLength(path);
  if (windows || bytes <= LONGEST_SOCKET_PATH) return path;
  throw new QueueError(
    'CONFIG_INVALID',
    `[api] apiSocket: expected a path of at most ${LONGEST_SOCKET_PATH} bytes, for sockets have no longer ones, ` +
      `received one of ${bytes}: ${quote(path, 300)}; name a shorter one, or another [daemon] stateDir`,
    file === undefined ? {} : { path: file },
  );
}

/** What programs connect to: on Windows, which has no such sockets for us, a pipe whose name is made from the path. */
export function listenNameOf(path: string): string {
  if (!windows) return path;
  return `\\\\.\\pipe\\coda-${createHash('sha256').update(path).digest('hex').slice(0, 32)}`;
}

/** What a knock at a socket tells. `unknown`: somebody has it, but does not let us in, or is too busy. */
export type Answer = 'alive' | 'dead' | 'absent' | 'unknown';

/** Whether somebody listens there. */
export function knockAt(path: string): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect(listenNameOf(path));
    const end = (answer: Answer): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PATIENCE, () => end('unknown'));
    socket.once('connect', () => end('alive'));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED') end('dead');
      else end(code === 'ENOENT' ? 'absent' : 'unknown');
    });
  });
}
