/**
 * Records as a reader may trust them. A right checksum says that the bytes are as somebody wrote them, not that it was
 * somebody who knew how. A header that does not parse, or that lacks what its operation needs, is a bad line like any
 * other: rot. One that names an operation nobody here knows may be from a newer version, which is for the state to refuse.
 */
import type { Json } from '../message.ts';
import { FORMAT, RULES, type HeadRecord, type Mended, type Operation } from './operations.ts';
import { headerText, parsePayload, payloadText, PREFIX } from './record.ts';
import type { Header } from './state.ts';

export interface Decoded<H> {
  header: H;
  /** Of the operations whose payload changes the state; null for all others. A message's is not looked at. */
  payload: Json;
}

/** The sound line `buffer[start, end)` as a record; undefined when it is none. */
export function decode(
  buffer: Buffer,
  start: number,
  end: number,
  headerLength: number,
): Decoded<Header | HeadRecord | Mended> | undefined {
  let header: Any;
  let payload: Json = null;
  try {
    header = JSON.parse(headerText(buffer, start, headerLength)) as Any;
    if (!isObject(header) || !hasFields(header)) return undefined;
    const fits = PAYLOADS[header['op'] as keyof typeof PAYLOADS];
    if (fits) {
      payload = parsePayload(payloadText(buffer, start, end, headerLength));
      if (!fits(payload)) return undefined;
    }
  } catch {
    return undefined;
  }
  // What a message holds is parsed when it is needed, but it must be there.
  const { op } = header;
  if ((op === 'add' || op === 'update' || op === 'carry') && end - start < PREFIX + headerLength + 3)
    return undefined;
  return { header: header as unknown as Header | HeadRecord | Mended, payload };
}

/** Likewise, of the records that programs append: one of a head among them is a bad line. */
export function decodeOwn(
  buffer: Buffer,
  start: number,
  end: number,
  headerLength: number,
): Decoded<Header> | undefined {
  const decoded = decode(buffer, start, end, headerLength);
  return decoded && isOwn(decoded.header) ? (decoded as Decoded<Header>) : undefined;
}

/** Only what programs append is numbered. */
export function isOwn(header: Header | HeadRecord | Mended): header is Header {
  return 'n' in header;
}

/** Whether this version knows the operation. */
export function isKnown({ op }: Header | HeadRecord | Mended): boolean {
  return KNOWN.has(op);
}

/** Whether a Date can hold it. */
export function isTime(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= 8.64e15;
}

type Any = Record<string, unknown>;

function isObject(value: unknown): value is Any {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
const isText = (value: unknown): value is string => typeof value === 'string';
const isWhole = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown): value is number => Number.isFinite(value);

/** Whether there is nothing, or what fits. */
function maybe(value: unknown, fits: (value: unknown) => boolean): boolean {
  return value === undefined || fits(value);
}

function isList(value: unknown, fits: (entry: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(fits);
}

function isPlace(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && isWhole(value[0]) && isWhole(value[1]);
}

/** A list of messages, grouped by segment. */
function isWhere(value: unknown): boolean {
  return isList(value, (group) => {
    if (!Array.isArray(group) || !isWhole(group[0])) return false;
    for (let i = 1; i < group.length; i++) {
      const entry: unknown = group[i];
      if (!isWhole(entry) && !(Array.isArray(entry) && isWhole(entry[0]) && isTime(entry[1]))) return false;
    }
    return true;
  });
}

function isContent({ u, a, r, by }: Any): boolean {
  return isText(u) && maybe(a, isText) && maybe(r, isWhole) && maybe(by, isText);
}

function isSchedule({ d, x }: Any): boolean {
  return (d === null || maybe(d, isTime)) && (x === undefined || x === 0 || x === 1);
}

function isStamp(value: unknown): boolean {
  return (
    value === null || (isObject(value) && isText(value['u']) && isText(value['a']) && isTime(value['t']))
  );
}

function isIdentity(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { pid, start, boot, pidNamespace, timeNamespace } = value;
  return isWhole(pid) && isText(start) && isText(boot) && isText(pidNamespace) && isText(timeNamespace);
}

const isDurability = (value: unknown): boolean =>
  value === 'always' || value === 'interval' || value === 'os';

function isError(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { at, attempt, name, message, code, stack } = value;
  const said = isText(at) && isNumber(attempt) && isText(name) && isText(message);
  return said && maybe(code, isText) && maybe(stack, isText);
}

function isProgress(value: unknown): boolean {
  return isObject(value) && isNumber(value['percent']) && isText(value['text']);
}

function isBirth(value: unknown): boolean {
  if (!isObject(value) || !isObject(value['options']) || !isObject(value['attributes'])) return false;
  const { uniqueAlias, maxMessages, maxBytes } = value['options'];
  const isFlag = (flag: unknown): boolean => typeof flag === 'boolean';
  return maybe(uniqueAlias, isFlag) && maybe(maxMessages, isNumber) && maybe(maxBytes, isNumber);
}

function isOutcome(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { u, a, o, t } = value;
  return isText(u) && isText(a) && isText(o) && isTime(t);
}

/** The payloads that replay needs. */
const PAYLOADS = {
  head: isBirth,
  create: isBirth,
  renew: (value: unknown) => value === null || isProgress(value),
  fail: isError,
  lapse: isError,
  cancel: isError,
  attr: isObject,
  touched: (value: unknown) => value === null || isList(value, isError),
  outcomes: (value: unknown) => isList(value, isOutcome),
} satisfies Partial<Record<(Operation | HeadRecord)['op'], (payload: unknown) => boolean>>;

const OPERATIONS: Readonly<Record<(Operation | HeadRecord | Mended)['op'], true>> = {
  add: true,
  update: true,
  set: true,
  claim: true,
  renew: true,
  done: true,
  fail: true,
  release: true,
  lapse: true,
  remove: true,
  cancel: true,
  retry: true,
  purge: true,
  pause: true,
  resume: true,
  attr: true,
  processed: true,
  writer: true,
  boot: true,
  create: true,
  seal: true,
  unsound: true,
  next: true,
  head: true,
  segment: true,
  runs: true,
  touched: true,
  carry: true,
  registered: true,
  damage: true,
  outcomes: true,
  ready: true,
  mended: true,
};
const KNOWN: ReadonlySet<string> = new Set(Object.keys(OPERATIONS));

function hasFields(h: Any): boolean {
  const op = h['op'] as (Operation | HeadRecord | Mended)['op'];
  switch (op) {
    case 'head':
    case 'segment':
    case 'runs':
    case 'touched':
    case 'carry':
    case 'registered':
    case 'damage':
    case 'outcomes':
    case 'ready':
      return !('n' in h) && hasHeadFields(op, h);
    case 'mended':
      return !('n' in h) && isList(h['lost'], isPlace) && maybe(h['seal'], isWhole);
    default:
      return isText(op) && isWritten(h) && hasOwnFields(op, h);
  }
}

function isWritten({ w, n, t, s }: Any): boolean {
  return isText(w) && isWhole(n) && isTime(t) && maybe(s, isWhole);
}

function hasOwnFields(op: Operation['op'], h: Any): boolean {
  switch (op) {
    case 'add':
      return isContent(h) && h['d'] !== null && isSchedule(h);
    case 'update':
      return isPlace(h['p']) && isPlace(h['at']) && isTime(h['i']) && isContent(h) && isSchedule(h);
    case 'set':
      return isPlace(h['p']) && isSchedule(h);
    case 'claim':
      return isText(h['k']) && isNumber(h['m']) && isNumber(h['ms']) && isWhole(h['max']) && isWhere(h['c']);
    case 'renew':
      return isText(h['k']) && isNumber(h['m']) && isNumber(h['ms']) && isWhere(h['c']);
    case 'done':
      return isText(h['k']) && isWhere(h['c']) && isList(h['u'], isText) && isList(h['a'], isText);
    case 'fail':
      return isText(h['k']) && isWhere(h['c']) && maybe(h['d'], isTime);
    case 'release':
      return isText(h['k']) && isWhere(h['c']);
    case 'lapse':
      return isText(h['k']) && isWhole(h['r']) && isWhere(h['c']);
    case 'remove':
      return isPlace(h['p']) && isText(h['u']) && maybe(h['a'], isText);
    case 'cancel':
      return isPlace(h['p']) && isText(h['u']);
    case 'retry':
      return maybe(h['c'], isWhere);
    case 'processed':
      return isText(h['u']) && isText(h['a']);
    case 'writer':
      return isIdentity(h['who']) && isDurability(h['dur']);
    case 'boot':
    case 'create':
      return isText(h['id']);
    case 'seal':
      return isText(h['why']);
    case 'next':
      // It becomes part of a file's name.
      return isText(h['r']) && /^[0-9a-f]{16}$/.test(h['r']) && isWhole(h['at']) && isText(h['crc']);
    case 'purge':
    case 'pause':
    case 'resume':
    case 'attr':
    case 'unsound':
      return true;
    default:
      return true;
  }
}

function hasHeadFields(op: HeadRecord['op'], h: Any): boolean {
  switch (op) {
    case 'head':
      return isHead(h);
    case 'carry':
      return isPlace(h['p']) && isTime(h['i']) && isContent(h);
    case 'segment':
      return isWhole(h['segment']) && isWhole(h['fresh']) && isWhole(h['special']) && isRuns(h['runs']);
    case 'runs':
      return isWhole(h['segment']) && isRuns(h['runs']);
    case 'touched':
      return isTouched(h);
    case 'registered':
      return isText(h['w']) && isIdentity(h['who']) && isDurability(h['dur']);
    case 'damage':
      return isWhole(h['segment']) && isWhole(h['from']) && isWhole(h['to']);
    case 'ready':
      return isWhole(h['records']);
    case 'outcomes':
      return true;
  }
}

function isRuns(value: unknown): boolean {
  return isList(value, isWhole) && (value as unknown[]).length % 2 === 0;
}

function isHead(h: Any): boolean {
  const { format, rules, id, segment, prev, digest, boot, t, created, modified, paused, inserted, last } = h;
  if (!isWhole(format) || !isWhole(rules)) return false;
  // What a newer version writes is not for this one to judge, but to refuse.
  if (format > FORMAT || rules > RULES) return true;
  const after =
    prev === null ||
    (isObject(prev) && isWhole(prev['segment']) && isWhole(prev['at']) && isText(prev['crc']));
  const counted = isWhole(h['added']) && isWhole(h['processed']) && isStamp(inserted) && isStamp(last);
  const dated = isTime(t) && isTime(created) && isTime(modified) && isNumber(digest);
  return (
    isText(id) && isWhole(segment) && after && isText(boot) && typeof paused === 'boolean' && dated && counted
  );
}

function isTouched(h: Any): boolean {
  const { state, d, k, r, m, ms, ct, pr, attempts, crashes } = h;
  const stands = isPlace(h['p']) && isPlace(h['at']) && isWhole(h['len']) && isWhole(h['hl']);
  if (!stands || !isNumber(attempts) || !isNumber(crashes) || !maybe(h['a'], isText)) return false;
  if (state === 'ready' || state === 'failed') return true;
  if (state === 'deferred') return isTime(d);
  const told = pr === undefined || (isProgress(pr) && isTime((pr as Any)['t']));
  return (
    state === 'claimed' && isText(k) && isWhole(r) && isNumber(m) && isNumber(ms) && maybe(ct, isTime) && told
  );
}
