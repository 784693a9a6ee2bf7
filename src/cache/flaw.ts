/** Which bit of a damaged line has changed, where it is one alone: then all is known that stood there. */
import { crc32 } from 'node:zlib';
import { checkLine, PREFIX } from './record.ts';

/** The checksum covers the line from here. */
const COVERED = 10;
/** Of CRC-32, the lowest bit first. */
const POLYNOMIAL = 0xedb88320;
/** In a longer line some bit fits too often by chance: of one in four billion, each is a try. */
const LONGEST = 64 * 1024;

/**
 * The sound line of which one bit has changed; undefined when it is not that. By how much a bit changes the checksum depends on
 * nothing but how far it is from the end.
 */
export function withoutFlaw(line: Buffer): Buffer | undefined {
  if (line.length < PREFIX || line.length > LONGEST) return undefined;
  const sound = Buffer.from(line);
  const checksum = crc32(line.subarray(COVERED));
  sound.write(`["${checksum.toString(16).padStart(8, '0')}`, 'latin1');
  if (bitsBetween(line, sound, COVERED) === 1)
    return checkLine(sound, 0, sound.length) < 0 ? undefined : sound;
  const told = line.toString('latin1', 2, COVERED);
  if (!/^[0-9a-f]{8}$/.test(told)) return undefined;
  const difference = (checksum ^ Number.parseInt(told, 16)) >>> 0;
  let worth = POLYNOMIAL;
  for (let at = line.length - 1; at >= COVERED; at--) {
    for (let bit = 7; bit >= 0; bit--) {
      if (worth === difference) {
        line.copy(sound, 0, 0, COVERED);
        sound[at]! ^= 1 << bit;
        return checkLine(sound, 0, sound.length) < 0 ? undefined : sound;
      }
      worth = ((worth >>> 1) ^ (worth & 1 ? POLYNOMIAL : 0)) >>> 0;
    }
  }
  return undefined;
}

/** How many bits differ in the first `length` bytes. */
function bitsBetween(one: Buffer, other: Buffer, length: number): number {
  let count = 0;
  for (let i = 0; i < length; i++)
    for (let rest = one[i]! ^ other[i]!; rest > 0; rest >>= 1) count += rest & 1;
  return count;
}
