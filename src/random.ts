/**
 * Random bytes from the system. Not by way of node:crypto where the system has a file of them: loading that takes longer
 * than adding a message.
 */
import fs from 'node:fs';

const pool = Buffer.alloc(4096);
/** What of the pool was given out; that is never given again. */
let used = pool.length;

/** Fills all of it. For many bytes at a time: each call asks the system. */
export function fillRandom(bytes: Uint8Array): void {
  if (!fillFromFile(bytes)) process.getBuiltinModule('node:crypto').randomFillSync(bytes);
}

/** As hexadecimal digits, two a byte; of at most 4096 bytes. For names and uuids, not for secrets: see `fillFromFile`. */
export function randomHex(bytes: number): string {
  if (bytes > pool.length) throw new RangeError(`expected at most ${pool.length} bytes, received ${bytes}`);
  if (used + bytes > pool.length) {
    fillRandom(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('hex', used - bytes, used);
}

/**
 * False where there is no such file, as on Windows and in some jails, or it is not the device. In the first moments of a
 * machine's life older kernels (before 5.18) answer with what could be foreseen.
 */
function fillFromFile(bytes: Uint8Array): boolean {
  try {
    const fd = fs.openSync('/dev/urandom', 'r');
    try {
      return fs.fstatSync(fd).isCharacterDevice() && fs.readSync(fd, bytes) === bytes.length;
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return false;
  }
}
