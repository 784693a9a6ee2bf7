/** What the simulated disk is made of: files and folders, each as programs see it and as it is on the device. */

/** A write: bytes [from, to) of a file that are not on the device. */
export interface Extent {
  from: number;
  to: number;
}

class Bytes {
  data = new Uint8Array(0);
  size = 0;

  set(from: number, bytes: Uint8Array): void {
    this.#room(from + bytes.length);
    this.data.set(bytes, from);
    this.size = Math.max(this.size, from + bytes.length);
  }

  get(from: number, to: number): Uint8Array {
    return this.data.subarray(Math.min(from, this.size), Math.min(to, this.size));
  }

  resize(size: number): void {
    this.#room(size);
    if (size < this.size) this.data.fill(0, size, this.size);
    this.size = size;
  }

  #room(size: number): void {
    if (size <= this.data.length) return;
    const larger = new Uint8Array(Math.max(size, this.data.length * 2, 1024));
    larger.set(this.data);
    this.data = larger;
  }
}

/** Of the next file that is made, on any disk. */
let nextInode = 1;

export class File {
  readonly kind = 'file';
  readonly inode = nextInode++;
  readonly cache = new Bytes();
  readonly device = new Bytes();
  dirty: Extent[] = [];
  cut = false;
  /** Names, and handles. The space is free when there are none. */
  links = 0;
  handles = 0;
  uid = 0;
  gid = 0;
  mode = 0o600;
  failures = 0;
}

export type Names = Map<string, File | Folder>;

export class Folder {
  readonly kind = 'folder';
  names: Names = new Map();
  readonly durable: Names = new Map();
  pending: ((names: Names) => void)[] = [];

  change(change: (names: Names) => void): void {
    change(this.names);
    this.pending.push(change);
  }
}
