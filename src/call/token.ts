/** Tokens compared in a time that tells nothing of them: digests are of one length, whatever was sent. */
import { createHash, timingSafeEqual } from 'node:crypto';

export function isSameToken(sent: string, expected: string): boolean {
  return timingSafeEqual(digestOf(sent), digestOf(expected));
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
