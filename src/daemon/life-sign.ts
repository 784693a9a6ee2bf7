/**
 * A sign of life: a socket beside the pid file on which a daemon listens for as long as it lives. The system closes it
 * however the process ends, and anybody who sees the folder can knock: from another container, whose process table does
 * not show the daemon, and where the system tells nothing of processes. A daemon whose event loop is blocked still
 * has it. Where there are no signals (Windows), orders come this way too.
 */
import { chmodSync, closeSync, constants, existsSync, openSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { removeSmall } from './small-file.ts';

export type Order = 'stop' | 'reload';

/** What a knock tells: refused is dead; that nothing is there proves nothing, for the file may have been removed. */
export type Answer = 'alive' | 'dead' | 'unknown';

/** Bytes of a socket's path, with the 0 behind it; a longer one would be cut without a word. */
const LONGEST_PATH = process.platform === 'linux' ? 108 : 104;
/** How long an answer, or an order, may take to come; ms. */
const PATIENCE = 2000;
const LONGEST_ORDER = 16;

const windows = process.platform === 'win32';

export class LifeSign {
  readonly #server: Server;
  readonly #path: string;
  readonly #address: Address;
  readonly #visitors: ReadonlySet<Socket>;

  private constructor(server: Server, path: string, address: Address, visitors: ReadonlySet<Socket>) {
    this.#server = server;
    this.#path = path;
    this.#address = address;
    this.#visitors = visitors;
  }

  /** Resolves when it can be heard; with undefined where this file system has no sockets, or the path is too long. */
  static async give(
    stateDir: string,
    token: string,
    onOrder: (order: Order) => void,
  ): Promise<LifeSign | undefined> {
    const path = pathOf(stateDir, token);
    const address = addressOf(stateDir, token);
    if (!address) return undefined;
    const visitors = new Set<Socket>();
    const server = createServer((socket) => {
      visitors.add(socket);
      socket.once('close', () => visitors.delete(socket));
      hear(socket, onOrder);
    });
    const error = await new Promise((resolve) => {
      server.once('error', resolve).listen(address.name, () => resolve(undefined));
    });
    if (error !== undefined) {
      address.release();
      return undefined;
    }
    if (!windows) chmodSync(path, 0o600);
    server.on('error', () => undefined).unref();
    return new LifeSign(server, path, address, visitors);
  }

  /** False when somebody has removed it: nobody can knock any more. */
  get isThere(): boolean {
    return windows || existsSync(this.#path);
  }

  async end(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    // It would wait for them to leave.
    for (const visitor of this.#visitors) visitor.destroy();
    await closed;
    this.#address.release();
    removeSign(this.#path);
  }
}

/** Removes what a process that is dead has left. */
export function removeSignOf(stateDir: string, token: string): void {
  removeSign(pathOf(stateDir, token));
}

/** Whether somebody listens. */
export async function knock(stateDir: string, token: string): Promise<Answer> {
  const reached = await reach(stateDir, token);
  if (typeof reached !== 'string') {
    reached.destroy();
    return 'alive';
  }
  // A pipe of Windows is gone as soon as nobody has it open. EAGAIN: more are knocking than can be heard.
  if (reached === 'ECONNREFUSED' || (windows && reached === 'ENOENT')) return 'dead';
  return reached === 'EAGAIN' ? 'alive' : 'unknown';
}

/** Resolves with whether the order has been heard. */
export async function tellOrder(stateDir: string, token: string, order: Order): Promise<boolean> {
  const socket = await reach(stateDir, token);
  if (typeof socket === 'string') return false;
  return new Promise((resolve) => {
    const end = (heard: boolean): void => {
      socket.destroy();
      resolve(heard);
    };
    socket.setTimeout(PATIENCE, () => end(false));
    socket.once('error', () => end(false)).once('close', () => end(false));
    socket.once('data', () => end(true));
    socket.write(`${order}\n`);
  });
}

interface Address {
  name: string;
  release(): void;
}

function pathOf(stateDir: string, token: string): string {
  return join(stateDir, `.${token}.sock`);
}

function addressOf(stateDir: string, token: string): Address | undefined {
  const path = pathOf(stateDir, token);
  if (windows) {
    const name = createHash('sha256').update(path).digest('hex').slice(0, 32);
    return { name: `\\\\.\\pipe\\coda-${name}`, release: () => undefined };
  }
  if (Buffer.byteLength(path) < LONGEST_PATH) return { name: path, release: () => undefined };
  if (process.platform !== 'linux') return undefined;
  try {
    const folder = openSync(stateDir, constants.O_RDONLY | constants.O_DIRECTORY);
    return { name: `/proc/self/fd/${folder}/.${token}.sock`, release: () => closeSync(folder) };
  } catch {
    return undefined;
  }
}

function removeSign(path: string): void {
  if (!windows) removeSmall(path);
}

/** The open socket, or the code of the error. */
async function reach(stateDir: string, token: string): Promise<Socket | string> {
  const address = addressOf(stateDir, token);
  if (!address) return 'ENOENT';
  try {
    return await new Promise((resolve) => {
      const socket = connect(address.name);
      const fail = (code: string): void => {
        socket.destroy();
        resolve(code);
      };
      socket.setTimeout(PATIENCE, () => fail('ETIMEDOUT'));
      socket.once('error', ({ code = '' }: NodeJS.ErrnoException) => fail(code));
      socket.once('connect', () => {
        socket.removeAllListeners();
        socket.on('error', () => undefined);
        resolve(socket);
      });
    });
  } finally {
    address.release();
  }
}

/** A visitor may send anything, or nothing. */
function hear(socket: Socket, onOrder: (order: Order) => void): void {
  let said = '';
  socket.unref();
  socket.setTimeout(PATIENCE, () => socket.destroy());
  socket.on('error', () => undefined);
  socket.setEncoding('latin1').on('data', (text: string) => {
    said += text;
    const order = said.trimEnd();
    if (said.endsWith('\n') && (order === 'stop' || order === 'reload')) {
      socket.end('heard\n');
      onOrder(order);
    } else if (said.length > LONGEST_ORDER || said.endsWith('\n')) socket.destroy();
  });
}
