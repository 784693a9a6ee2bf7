/**
 * From a program's value to the JSON text that is stored, and nothing lost on the way: what JSON would turn into
 * something else without a word (NaN, a function, a Map) is refused, with the path to it inside the data.
 *
 * This is on the path of every add, so the walk only looks: it carries no path and keeps no list of ancestors. Where
 * it finds a fault it hands the reason back, and the frames it returns through add what they know.
 */
import { QueueError, quote } from './errors.ts';

/** How deep arrays and objects may nest. Other languages' parsers, and `jq`, stop in the hundreds. */
const DEEPEST = 64;

/**
 * The value as JSON text, as `JSON.stringify` writes it: `toJSON` is honoured, undefined properties are left out, the
 * properties of a class instance are kept. `__proto__` is a key like any other; lone surrogates are escaped.
 * Errors: INVALID_MESSAGE (not JSON, a cycle, nested deeper than 64), MESSAGE_TOO_LARGE.
 *
 * @param what how to call the value in an error: `data`.
 * @param maxBytes limit on the text, in bytes of UTF-8.
 */
export function encodePayload(value: unknown, what: string, maxBytes: number, queue?: string): string {
  const details = queue === undefined ? {} : { queue };
  // Each part of a value costs at least one byte of text, so a value of more parts is too large; without this, one
  // that shares its parts (x = [x', x'], x' = [x'', x''], …) would be walked for ever.
  left = maxBytes;
  let json: string | undefined;
  try {
    const fault = look(value, '', 0);
    if (fault === TOO_MANY) throw tooLarge(what, maxBytes, `a value of more than ${maxBytes} parts`, details);
    if (fault) throw refusal(fault, what, details);
    json = JSON.stringify(value);
  } catch (cause) {
    if (cause instanceof QueueError) throw cause;
    // A getter or toJSON that throws, or text beyond what a string can hold.
    throw new QueueError('INVALID_MESSAGE', `${what}: expected a value that can be read, reading it threw`, {
      ...details,
      cause,
    });
  }
  // A toJSON that answers differently the second time.
  if (json === undefined)
    throw refusal({ expected: EXPECTED, received: 'undefined', path: [] }, what, details);
  // UTF-8 takes at most three bytes for each unit of UTF-16: most texts need no counting.
  if (json.length * 3 > maxBytes) {
    const bytes = Buffer.byteLength(json);
    if (bytes > maxBytes) throw tooLarge(what, maxBytes, `${bytes} bytes`, details);
  }
  return json;
}

interface Fault {
  readonly expected: string;
  received: string;
  /** Keys from the fault outwards. */
  path: (string | number)[];
  /** The object found too deep: where a frame on the way out holds the same one, it is a cycle. */
  readonly at?: object;
  /** The keys that lead from that object to itself. */
  cycle?: (string | number)[];
}

const EXPECTED = 'data that JSON can hold';
const TOO_MANY: Fault = { expected: '', received: '', path: [] };

/** Parts that may still be looked at. */
let left = 0;

/** The first fault in `value`, or undefined when it is plain JSON. `key` is where it stands, for toJSON. */
function look(value: unknown, key: string | number, depth: number): Fault | undefined {
  if (--left < 0) return TOO_MANY;
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined;
    case 'number':
      return Number.isFinite(value) ? undefined : fault(String(value));
    case 'object':
      return value === null ? undefined : lookInto(value as Record<string, unknown>, key, depth);
    case 'bigint':
      return fault('a bigint');
    default:
      return fault(value === undefined ? 'undefined' : `a ${typeof value}`);
  }
}

function lookInto(value: Record<string, unknown>, key: string | number, depth: number): Fault | undefined {
  if (typeof value['toJSON'] === 'function') {
    // Its result stands in its place, and is not asked for a toJSON of its own.
    const replaced: unknown = value['toJSON'](String(key));
    if (typeof replaced !== 'object' || replaced === null) return look(replaced, key, depth);
    return lookThrough(replaced as Record<string, unknown>, depth);
  }
  return lookThrough(value, depth);
}

function lookThrough(value: Record<string, unknown>, depth: number): Fault | undefined {
  if (depth === DEEPEST) return tooDeep(value);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const found = look(value[index], index, depth + 1);
      if (found) return located(found, value, index);
    }
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return lookThroughInstance(value, depth);
  // for-in is twice as fast as Object.keys here, and also meets what others have put on Object.prototype.
  for (const name in value) {
    const part = value[name];
    if (part === undefined || typeof part === 'string') continue;
    const found = look(part, name, depth + 1);
    if (found && Object.hasOwn(value, name)) return located(found, value, name);
  }
  return undefined;
}

function lookThroughInstance(value: Record<string, unknown>, depth: number): Fault | undefined {
  // Map, Set, RegExp, Promise, Error, boxed and typed values keep what they hold elsewhere than in properties.
  const tag = Object.prototype.toString.call(value);
  if (tag !== '[object Object]') return fault(`a ${tag.slice('[object '.length, -1)}`);
  for (const name of Object.keys(value)) {
    const part = value[name];
    const found = part === undefined ? undefined : look(part, name, depth + 1);
    if (found) return located(found, value, name);
  }
  return undefined;
}

function fault(received: string): Fault {
  return { expected: EXPECTED, received, path: [] };
}

function tooDeep(at: object): Fault {
  return { expected: `data nested at most ${DEEPEST} deep`, received: 'deeper ones', path: [], at };
}

/** Called by every frame that a fault passes on its way out. */
function located(found: Fault, holder: object, key: string | number): Fault {
  if (found === TOO_MANY) return found;
  found.path.push(key);
  if (found.at === holder) {
    found.received = 'a cycle';
    // The frames of every further round match too: the path keeps one.
    if (found.cycle) found.path = [...found.cycle];
    else found.cycle = [...found.path];
  }
  return found;
}

function refusal(found: Fault, what: string, details: { queue?: string }): QueueError {
  const { expected, received } = found;
  const keys = found.path.toReversed();
  const steps = keys.slice(0, 8).map((key) => (typeof key === 'number' ? `[${key}]` : `.${bare(key)}`));
  const path = `${what}${steps.join('')}${keys.length > 8 ? '…' : ''}`;
  return new QueueError('INVALID_MESSAGE', `expected ${expected}, received ${received} at ${path}`, details);
}

function bare(key: string): string {
  return /^[\w$]{1,40}$/.test(key) ? key : quote(key, 40);
}

function tooLarge(what: string, maxBytes: number, received: string, details: { queue?: string }): QueueError {
  return new QueueError(
    'MESSAGE_TOO_LARGE',
    `${what}: expected at most ${maxBytes} bytes of JSON, received ${received}`,
    details,
  );
}
