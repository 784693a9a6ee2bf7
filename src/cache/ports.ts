/**
 * What the file backend needs of its surroundings. Everything that can fail, race, lie or jump is behind these
 * four ports, so that a simulation can stand in for them. Only flushing to the device is asynchronous: the other
 * calls are served from the page cache in microseconds, and a call that cannot be interleaved is simpler to trust.
 */
import type { Identity, Processes } from '../process-table.ts';

export type { Identity, Processes };

export interface FileStat {
  size: number;
  /** 0: the file has no name any more. */
  links: number;
  /** Tells it from all other files that are there. */
  inode: number;
  uid: number;
  gid: number;
  /** Permission bits. */
  mode: number;
}

export type OpenMode =
  | 'read'
  /** Reading, and writing at the end only (O_APPEND). */
  | 'append'
  /** A new file for writing; EEXIST when there is one. */
  | 'create';

/** Errors are those of node:fs, told apart by their `code`. Links are never followed in the last component. */
export interface FileSystem {
  open(path: string, how: OpenMode, mode?: number): number;
  close(fd: number): void;
  /** Bytes written: fewer than `length` when the device filled up on the way. `position` only in a created file. */
  write(fd: number, bytes: Uint8Array, offset: number, length: number, position?: number): number;
  read(fd: number, into: Uint8Array, offset: number, length: number, position: number): number;
  stat(fd: number): FileStat;
  truncate(fd: number, size: number): void;
  setOwner(fd: number, uid: number, gid: number): void;
  setMode(fd: number, mode: number): void;
  /** Contents and size of the file are on the device when this resolves. */
  sync(fd: number): Promise<void>;
  /** Likewise for the names in a folder. */
  syncFolder(path: string): Promise<void>;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** `like`: a folder whose owner it gets, where this is the superuser's doing. */
  makeFolder(path: string, mode: number, like?: string): void;
  removeFolder(path: string): void;
  list(path: string): string[];
  kind(path: string): 'file' | 'folder' | 'link' | 'device' | undefined;
  /** The path with its links resolved. */
  resolve(path: string): string;
  /** Bytes that may still be written to the file system of `path`, and its magic number (0 where there is none). */
  space(path: string): { free: number; type: number };
  /** Calls `listener` when a file in the folder was written to; may miss and may repeat. */
  watch(folder: string, listener: () => void): () => void;
}

export interface Clock {
  /** Wall clock, epoch milliseconds. For people and due times; decides nothing else. */
  now(): number;
  /** Milliseconds since the machine started, the same for all its processes. */
  monotonic(): number;
  /** Returns what cancels it. */
  timer(ms: number, run: () => void): () => void;
  /** Lets the event loop turn once. */
  yield(): Promise<void>;
  /** Milliseconds for which the event loop has not turned, since it was asked first. */
  busy(): number;
}

export interface Random {
  /** A UUID of version 7. */
  uuid(): string;
  /** `bytes` random bytes in hexadecimal. */
  hex(bytes: number): string;
}

export interface Ports {
  fs: FileSystem;
  clock: Clock;
  random: Random;
  processes: Processes;
}
