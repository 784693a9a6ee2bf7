/**
 * UUIDs of version 7 (RFC 9562): 48 bits of milliseconds, 12 bits that count within a millisecond (section 6.2,
 * method 1), 62 random bits. So those of one process are in order, also when its clock is set back.
 *
 * The random bits and the variant are the second half of one of Node's own UUIDs, which it draws from a pool.
 */
import { randomUUID } from 'node:crypto';

let time = 0;
let counter = 0;
/** The digits of `time`, as far as the counter. */
let prefix = '00000000-0000-7';

export function uuidv7(): string {
  const random = randomUUID();
  const now = Date.now();
  // Begins in the lower half, so that two thousand more fit into this millisecond before the next is borrowed.
  if (now > time) moveTo(now, Number.parseInt(random.slice(0, 3), 16) >> 1);
  else if (counter === 0xfff) moveTo(time + 1, 0);
  else counter++;
  return prefix + counter.toString(16).padStart(3, '0') + random.slice(18);
}

function moveTo(milliseconds: number, first: number): void {
  time = milliseconds;
  counter = first;
  const digits = time.toString(16).padStart(12, '0');
  prefix = `${digits.slice(0, 8)}-${digits.slice(8)}-7`;
}
