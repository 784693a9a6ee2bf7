/**
 * The edge: what programs hand in is checked here, once, and passed on in the shapes of `backend.ts`, which trust it.
 * Each refusal says what was expected, what was received, and the near word for a misspelt one.
 */
import type { ClaimRef, MessageFilter, MessagePatch, NewMessage, QueueOptions } from './backend.ts';
import { QueueError, quote } from './errors.ts';
import type { QueueErrorCode } from './errors.ts';
import type { Json, State } from './message.ts';
import { encodePayload } from './payload.ts';
import { nearest } from './suggest.ts';

/** A message to add, as programs hand it in. What is undefined counts as not given. */
export interface MessageInput<T = Json> {
  data: T;
  /** Up to 1 KiB of UTF-8; '' (the default): none. */
  alias?: string | undefined;
  /** How many more times the message is tried after a failed try; default 0. */
  retries?: number | undefined;
  /** Not before this time; one in the past means at once. */
  dateTimeDeferredExecution?: Date | undefined;
  /** Kept, but passed over until it is enabled; default false. */
  disabled?: boolean | undefined;
  /** Who adds it, up to 1 KiB of UTF-8; default ''. */
  username?: string | undefined;
}

/** What to change; what is absent or undefined stays as it is. */
export interface MessageChanges<T = Json> {
  data?: T | undefined;
  alias?: string | undefined;
  retries?: number | undefined;
  /** null: run at once. */
  dateTimeDeferredExecution?: Date | null | undefined;
  disabled?: boolean | undefined;
  username?: string | undefined;
}

const QUEUE_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

/** Bytes of UTF-8 that an alias or a username may have. */
const LONGEST_LABEL = 1024;

/** Bytes of JSON that one patch of custom attributes may have: they are part of every segment's head. */
const LARGEST_ATTRIBUTES = 64 * 1024;

const MESSAGE_KEYS = [
  'data',
  'alias',
  'retries',
  'dateTimeDeferredExecution',
  'disabled',
  'username',
] as const;
const STATES: readonly State[] = ['ready', 'deferred', 'claimed', 'failed'];

/** Errors: INVALID_QUEUE_NAME. */
export function checkQueueName(name: unknown): asserts name is string {
  if (typeof name === 'string' && QUEUE_NAME.test(name)) return;
  throw new QueueError(
    'INVALID_QUEUE_NAME',
    `expected a queue name of 1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'; received ${quote(name)}`,
  );
}

/** Errors: INVALID_MESSAGE, MESSAGE_TOO_LARGE. */
export function checkMessage(input: unknown, maxBytes: number, queue: string): NewMessage {
  const given = objectOf(input, 'a message { data, … }', 'INVALID_MESSAGE', queue);
  const message: NewMessage = { json: '', data: null, alias: '', retries: 0, disabled: false, username: '' };
  let data: unknown;
  for (const key in given) {
    const value = given[key];
    if (value === undefined) continue;
    switch (key) {
      case 'data':
        data = value;
        break;
      case 'alias':
        message.alias = label(key, value, queue);
        break;
      case 'retries':
        message.retries = retries(value, queue);
        break;
      case 'dateTimeDeferredExecution':
        message.due = checkDate(key, value, queue, 'INVALID_MESSAGE');
        break;
      case 'disabled':
        message.disabled = checkFlag(key, value, queue, 'INVALID_MESSAGE');
        break;
      case 'username':
        message.username = label(key, value, queue);
        break;
      default:
        if (Object.hasOwn(given, key)) throw unknownKey(key, MESSAGE_KEYS, 'INVALID_MESSAGE', queue);
    }
  }
  message.json = encodePayload(data, 'data', maxBytes, queue);
  message.data = data as Json;
  return message;
}

/** The first refusal names the message by its index. Errors: INVALID_ARGUMENT, INVALID_MESSAGE, MESSAGE_TOO_LARGE. */
export function checkMessages(inputs: unknown, maxBytes: number, queue: string): NewMessage[] {
  if (!Array.isArray(inputs))
    throw invalid(`expected an array of messages, received ${quote(inputs)}`, queue);
  const messages: NewMessage[] = [];
  try {
    // By index: a hole in the array is no message either.
    for (let i = 0; i < inputs.length; i++) messages.push(checkMessage(inputs[i], maxBytes, queue));
    return messages;
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    const which = `message ${messages.length} of 0 to ${inputs.length - 1}`;
    throw new QueueError(error.code, `${which}: ${error.message}`, { queue, cause: error.cause });
  }
}

/** Errors: INVALID_MESSAGE, MESSAGE_TOO_LARGE. */
export function checkChanges(input: unknown, maxBytes: number, queue: string): MessagePatch {
  const given = objectOf(input, 'an object of changes', 'INVALID_MESSAGE', queue);
  const patch: MessagePatch = {};
  for (const [key, value] of entries(given, MESSAGE_KEYS, 'INVALID_MESSAGE', queue)) {
    if (key === 'data') patch.json = encodePayload(value, 'data', maxBytes, queue);
    else if (key === 'retries') patch.retries = retries(value, queue);
    else if (key === 'disabled') patch.disabled = checkFlag(key, value, queue, 'INVALID_MESSAGE');
    else if (key !== 'dateTimeDeferredExecution') patch[key] = label(key, value, queue);
    else patch.due = value === null ? null : checkDate(key, value, queue, 'INVALID_MESSAGE');
  }
  return patch;
}

const FILTER_KEYS = ['uuid', 'alias', 'state', 'disabled', 'username'] as const;

/** Errors: INVALID_ARGUMENT. */
export function checkFilter(input: unknown, queue: string): MessageFilter {
  const given = objectOf(input, 'a filter', 'INVALID_ARGUMENT', queue);
  const filter: MessageFilter = {};
  for (const [key, value] of entries(given, FILTER_KEYS, 'INVALID_ARGUMENT', queue)) {
    if (key === 'disabled') filter.disabled = checkFlag(key, value, queue);
    else if (key === 'state') filter.state = state(value, queue);
    else filter[key] = checkText(key, value, queue);
  }
  return filter;
}

/** Exactly one of uuid and alias. Errors: INVALID_ARGUMENT. */
export function checkTarget(input: unknown, queue: string): MessageFilter {
  const { uuid, alias, ...others } = checkFilter(input, queue);
  if ((uuid === undefined) === (alias === undefined) || alias === '' || Object.keys(others).length > 0) {
    throw invalid(`expected { uuid } or { alias }, received ${quote(input)}`, queue);
  }
  return uuid === undefined ? { alias: alias ?? '' } : { uuid };
}

/** Errors: INVALID_ARGUMENT. */
export function checkText(name: string, value: unknown, queue: string): string {
  if (typeof value === 'string') return value;
  throw invalid(`${name}: expected a string, received ${quote(value)}`, queue);
}

/** Errors: INVALID_ARGUMENT. */
export function checkUuids(uuids: unknown, queue: string): readonly string[] | 'all' {
  return uuids === 'all' ? uuids : checkUuidList(uuids, queue, "an array of uuids or 'all'");
}

/** Errors: INVALID_ARGUMENT. */
export function checkUuidList(
  uuids: unknown,
  queue: string,
  expected = 'an array of uuids',
): readonly string[] {
  if (!Array.isArray(uuids)) throw invalid(`expected ${expected}, received ${quote(uuids)}`, queue);
  return Array.from(uuids, (uuid) => checkText('uuid', uuid, queue));
}

/** Errors: INVALID_ARGUMENT. */
export function checkSignal(signal: unknown, queue: string): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw invalid(`signal: expected an AbortSignal, received ${quote(signal)}`, queue);
}

/** Cut to 0 … 100. Errors: INVALID_ARGUMENT. */
export function checkPercent(value: unknown, queue: string): number {
  if (typeof value === 'number' && !Number.isNaN(value)) return Math.min(100, Math.max(0, value));
  throw invalid(`percent: expected a number from 0 to 100, received ${quote(value)}`, queue);
}

/** Errors: INVALID_ARGUMENT. */
export function checkClaim(claim: unknown, queue: string): ClaimRef {
  const { uuid, alias, token } = objectOf(claim, 'a claim', 'INVALID_ARGUMENT', queue);
  return {
    uuid: checkText('uuid', uuid, queue),
    alias: alias === undefined ? '' : checkText('alias', alias, queue),
    token: checkText('token', token, queue),
  };
}

const OPTION_KEYS = ['uniqueAlias', 'maxMessages', 'maxBytes'] as const;

/** Errors: INVALID_ARGUMENT. */
export function checkQueueOptions(input: unknown, queue: string): QueueOptions {
  const given = objectOf(input, 'queue options', 'INVALID_ARGUMENT', queue);
  const options: QueueOptions = {};
  for (const [key, value] of entries(given, OPTION_KEYS, 'INVALID_ARGUMENT', queue)) {
    if (key === 'uniqueAlias') options.uniqueAlias = checkFlag(key, value, queue);
    else options[key] = checkWhole(key, value, 1, Number.MAX_SAFE_INTEGER, queue);
  }
  return options;
}

/** A patch of custom attributes as its own copy. Errors: INVALID_ARGUMENT. */
export function checkAttributes(patch: unknown, queue: string): Record<string, Json> {
  const given = objectOf(patch, 'an object of attributes', 'INVALID_ARGUMENT', queue);
  try {
    return JSON.parse(encodePayload(given, 'attributes', LARGEST_ATTRIBUTES, queue)) as Record<string, Json>;
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    throw new QueueError('INVALID_ARGUMENT', error.message, { queue, cause: error.cause });
  }
}

/** The options of one call: unknown names are refused. Errors: INVALID_ARGUMENT. */
export function checkCallOptions<Name extends string>(
  input: unknown,
  names: readonly Name[],
  queue: string,
): { readonly [N in Name]?: unknown } {
  if (!isObject(input)) throw noObject(input, `options { ${names.join(', ')} }`, 'INVALID_ARGUMENT', queue);
  const options: { [N in Name]?: unknown } = {};
  for (const key in input) {
    if (!Object.hasOwn(input, key) || input[key] === undefined) continue;
    if (!names.includes(key as Name)) throw unknownKey(key, names, 'INVALID_ARGUMENT', queue);
    options[key as Name] = input[key];
  }
  return options;
}

/** Errors: INVALID_ARGUMENT. */
export function checkWhole(name: string, value: unknown, least: number, most: number, queue: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most)
    return value;
  throw invalid(`${name}: expected a whole number from ${least} to ${most}, received ${quote(value)}`, queue);
}

/** Epoch milliseconds. Errors: `code`. */
export function checkDate(
  name: string,
  value: unknown,
  queue: string,
  code: QueueErrorCode = 'INVALID_ARGUMENT',
): number {
  const time = value instanceof Date ? value.getTime() : Number.NaN;
  if (!Number.isNaN(time)) return time;
  const received = value instanceof Date ? 'an invalid Date' : quote(value);
  throw new QueueError(code, `${name}: expected a valid Date, received ${received}`, { queue });
}

/** Errors: `code`. */
export function checkFlag(
  name: string,
  value: unknown,
  queue: string,
  code: QueueErrorCode = 'INVALID_ARGUMENT',
): boolean {
  if (typeof value === 'boolean') return value;
  throw new QueueError(code, `${name}: expected true or false, received ${quote(value)}`, { queue });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectOf(
  value: unknown,
  expected: string,
  code: QueueErrorCode,
  queue: string,
): Record<string, unknown> {
  if (isObject(value)) return value;
  throw noObject(value, expected, code, queue);
}

function noObject(value: unknown, expected: string, code: QueueErrorCode, queue: string): QueueError {
  return new QueueError(code, `expected ${expected}, received ${quote(value)}`, { queue });
}

function entries<Name extends string>(
  given: Record<string, unknown>,
  names: readonly Name[],
  code: QueueErrorCode,
  queue: string,
): [Name, unknown][] {
  const found = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [key] of found) {
    if (!names.includes(key as Name)) throw unknownKey(key, names, code, queue);
  }
  return found as [Name, unknown][];
}

function unknownKey(key: string, names: readonly string[], code: QueueErrorCode, queue: string): QueueError {
  const near = nearest(key, names);
  const hint = near === undefined ? `expected one of ${names.join(', ')}` : `did you mean ${near}?`;
  return new QueueError(code, `unknown property ${quote(key)}; ${hint}`, { queue });
}

function invalid(message: string, queue: string): QueueError {
  return new QueueError('INVALID_ARGUMENT', message, { queue });
}

/** Text of up to 1 KiB of UTF-8. Errors: INVALID_ARGUMENT. */
export function checkLabel(name: string, value: unknown, queue: string): string {
  return label(name, value, queue, 'INVALID_ARGUMENT');
}

function label(
  name: string,
  value: unknown,
  queue: string,
  code: QueueErrorCode = 'INVALID_MESSAGE',
): string {
  if (typeof value !== 'string') {
    throw new QueueError(code, `${name}: expected a string, received ${quote(value)}`, { queue });
  }
  // UTF-8 takes at most three bytes for each unit of UTF-16.
  if (value.length * 3 > LONGEST_LABEL && Buffer.byteLength(value) > LONGEST_LABEL) {
    const bytes = Buffer.byteLength(value);
    throw new QueueError(
      code,
      `${name}: expected at most ${LONGEST_LABEL} bytes of UTF-8, received ${bytes}`,
      { queue },
    );
  }
  return value;
}

function retries(value: unknown, queue: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new QueueError(
    'INVALID_MESSAGE',
    `retries: expected a whole number of at least 0, received ${quote(value)}`,
    { queue },
  );
}

function state(value: unknown, queue: string): State {
  const found = STATES.find((known) => known === value);
  if (found !== undefined) return found;
  throw invalid(`state: expected one of ${STATES.join(', ')}, received ${quote(value)}`, queue);
}
