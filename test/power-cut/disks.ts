/**
 * Disks whose power can be cut: an image on a loop device, kept on an XFS of its own whose files can be copied in an instant
 * (reflink). A copy of the image of a mounted disk is what a power cut would leave of it: all that has been written to the device,
 * and nothing of what was only in memory. It does not show what a drive loses that keeps its cache to itself.
 *
 * All of it lies in one folder, mounted in the mount namespace of this process (see scripts/power-cut.mjs): with its last process
 * the mounts and loop devices are gone, however it ends.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface FileSystemKind {
  /** In megabytes; holes in a sparse file, so this costs nothing. */
  size: number;
  make: readonly string[];
  options: string;
}

const EXT4 = ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0'];

/** The file systems that queues are tried on. */
export const KINDS = {
  ext4: { size: 128, make: EXT4, options: 'loop' },
  'ext4-writeback': { size: 128, make: EXT4, options: 'loop,data=writeback' },
  // Two of one origin are mounted at a time.
  xfs: { size: 320, make: ['mkfs.xfs', '-q', '-f'], options: 'loop,nouuid' },
} satisfies Record<string, FileSystemKind>;

export type Kind = keyof typeof KINDS;

const OUTER_MB = 4096;

/** Runs a command that must succeed. */
function must(command: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args);
  if (status === 0) return;
  throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr.toString().trim()}`);
}

export class Disks {
  readonly #outer: string;
  readonly #folder: string;

  /** @param folder an empty one. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#outer = join(folder, 'images');
    mkdirSync(this.#outer);
    const image = join(folder, 'images.xfs');
    makeImage(image, OUTER_MB, ['mkfs.xfs', '-q', '-m', 'reflink=1']);
    must('mount', '-o', 'loop', image, this.#outer);
  }

  /** A new disk, mounted. */
  make(kind: Kind): Disk {
    const { size, make } = KINDS[kind];
    const image = join(this.#outer, 'live');
    makeImage(image, size, make);
    return new Disk(image, join(this.#folder, 'live'), kind);
  }

  /** Cuts the power of a disk that goes on all the same; what is left is mounted, its journal replayed. */
  cut(live: Disk): Disk {
    const image = join(this.#outer, 'cut');
    must('cp', '--reflink=always', live.image, `${image}-new`);
    rmSync(image, { force: true });
    renameSync(`${image}-new`, image);
    must('cp', '--reflink=always', image, `${image}-first`);
    return new Disk(image, join(this.#folder, 'cut'), live.kind);
  }

  /** Copies a folder of the disk as the last cut has left it, before anything else was done to it. */
  keep(kind: Kind, name: string, to: string): void {
    const first = new Disk(join(this.#outer, 'cut-first'), join(this.#folder, 'first'), kind);
    try {
      must('cp', '-r', join(first.folder, name), to);
    } finally {
      first.remove();
    }
  }

  remove(): void {
    must('umount', this.#outer);
  }
}

/** An image that is mounted. */
export class Disk {
  readonly image: string;
  readonly folder: string;
  readonly kind: Kind;

  constructor(image: string, folder: string, kind: Kind) {
    this.image = image;
    this.folder = folder;
    this.kind = kind;
    mkdirSync(folder, { recursive: true });
    must('mount', '-o', KINDS[kind].options, image, folder);
  }

  remove(): void {
    must('umount', this.folder);
    rmSync(this.image);
  }
}

function makeImage(path: string, megabytes: number, make: readonly string[]): void {
  rmSync(path, { force: true });
  writeFileSync(path, '');
  truncateSync(path, megabytes * 1024 * 1024);
  must(make[0]!, ...make.slice(1), path);
}
