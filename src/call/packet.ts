/**
 * What formats of packets have in common. A format reads one packet out of the bytes that have come, however they were
 * split on their way, and writes an answer; what a request is, is the same for all.
 */
import { quote } from '../errors.ts';
import type { Json } from '../message.ts';
import type { CallAnswer } from './codes.ts';

/** Levels of nesting: a payload may have 64, and stands in the arguments, which stand in the packet. */
export const DEEPEST = 66;

const LONGEST_NAME = 256;

export interface PacketFormat {
  /** Its clients read to the end of the connection: it is closed behind the answer. */
  readonly closes: boolean;
  /** @param most bytes that a packet may have. */
  scan(most: number): PacketScan;
  /** Text to be sent as UTF-8. */
  write(answer: CallAnswer): string;
}

/** Reads one packet. What it has seen it does not look at again, so bytes that come one by one cost no more than others. */
export interface PacketScan {
  /**
   * @param bytes all that has come from the packet's first byte on, perhaps with others behind it.
   * @param ended no more will come.
   * @returns undefined: more has to come.
   */
  look(bytes: Buffer, ended: boolean): Scanned | undefined;
}

/** `slow`: complete, but to read it keeps all others waiting for milliseconds. */
export type Scanned = Read | { readonly type: 'slow'; readonly length: number; readonly read: () => Read };

export type Read =
  | { readonly type: 'packet'; readonly length: number; readonly value: Json }
  /** `next`: from where on to look for another packet: behind so many bytes, on the line after them, or nowhere. */
  | {
      readonly type: 'malformed';
      readonly why: string;
      readonly isTooLarge: boolean;
      readonly length: number;
      readonly next: 'here' | 'line' | 'nowhere';
    };

export interface CallRequest {
  readonly name: string;
  /** As sent; nothing is known of it but that it is an object. */
  readonly args: Readonly<Record<string, Json>>;
  readonly token: string | undefined;
  /** Its client reads to the end of the connection. */
  readonly isLast: boolean;
}

/** The request that a packet holds, or why it holds none. */
export function requestOf(value: Json): CallRequest | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return `expected { name, args }, received ${quote(value)}`;
  const isLast = Object.hasOwn(value, 'nom');
  const name = Object.hasOwn(value, 'name') ? value['name'] : isLast ? value['nom'] : undefined;
  if (typeof name !== 'string' || name === '' || name.length > LONGEST_NAME) {
    const received = name === undefined ? 'none' : quote(name);
    return `name: expected the name of a method, a text of 1 to ${LONGEST_NAME} characters; received ${received}`;
  }
  const token = Object.hasOwn(value, 'token') ? value['token'] : undefined;
  if (token !== undefined && typeof token !== 'string')
    return 'token: expected a text, received something else';
  const args = argsOf(Object.hasOwn(value, 'args') ? value['args'] : undefined);
  if (args === undefined) return `args: expected an object, received ${quote(value['args'])}`;
  return { name, args, token, isLast };
}

/** PHP does not tell an empty list from an empty object. */
function argsOf(given: Json | undefined): Readonly<Record<string, Json>> | undefined {
  if (given === undefined || given === null) return {};
  if (Array.isArray(given)) return given.length === 0 ? {} : undefined;
  return typeof given === 'object' ? given : undefined;
}

/** Sets a property of that name, whatever the name: `__proto__` too is a key like any other. */
export function put(target: Record<string, Json>, key: string, value: Json): void {
  if (key === '__proto__')
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  else target[key] = value;
}
