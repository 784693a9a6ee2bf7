/**
 * A position is one number: segment × 2^32 + offset. Exact in a double up to segment 2^21; at 8 MiB a segment
 * that is 16 TiB through one queue, after which its numbers would need another scheme (the format keeps them apart).
 */
const SPAN = 2 ** 32;

export function position(segment: number, offset: number): number {
  return segment * SPAN + offset;
}
export function segmentOf(position: number): number {
  return Math.floor(position / SPAN);
}
export function offsetOf(position: number): number {
  // The low 32 bits, as an integer: a double would throw out what is compiled for offsets everywhere else.
  return position >>> 0;
}
