/**
 * What the bytes of a damaged line still say of the record that it was. Nothing of it is verified; but it is the header that says it,
 * never the payload, which may hold whatever looks like one.
 */
import { born, type Life } from '../message.ts';
import { withoutFlaw } from './flaw.ts';
import { isKnown, isTime } from './header.ts';
import type { Place } from './operations.ts';
import { isJson, lineLength, PREFIX, startsLikeRecord } from './record.ts';
import type { Header } from './state.ts';

export interface Legible {
  /** Of the message it was about. */
  uuid: string | undefined;
  /** Its operation, where that is known. */
  op: string | undefined;
  isAdd: boolean;
  /** The life that an add gave its message, where all is legible that may have put it off, or disabled it. */
  birth: Life | undefined;
  /** Whether its date may be another: nothing tells that none of its digits has changed. */
  isDateOpen: boolean;
  /** What else it was, where that has changed or ended messages. */
  change: Change | undefined;
  writer: string | undefined;
  /** Where zeros stand in it: of the record whose end is left behind them. */
  lastWriter: string | undefined;
}

export interface Change {
  /** `purge`: of all that nobody had claimed. */
  what: 'update' | 'end' | 'purge';
  uuids: string[];
  places: Place[];
}

/** As much of a line as it mostly takes to say who wrote it. */
const BEGINNING = 400;
const LONGEST_LOOK = 64 * 1024;
/** A prefix from which bytes are missing, or to which some were added, before a header whose beginning is as it was. */
const SHIFTED = /^(?=[^{]*:)[["0-9a-f:,]{8,42}(?=\{"op":")/;
/** The last of a prefix: the length of the header. */
const LENGTH = /([0-9a-f]{6})",$/;
/** What tells where a header ends: braces, and the strings in which they mean nothing. */
const TOKENS = /"[^"\\]*(?:\\[^][^"\\]*)*(?:"|\\?$)|[{}]/g;
/** No header has ended before. */
const SHORTEST = '{"op":"add","u":"00000000-0000-0000-0000-000000000000"'.length;
const OPERATION = /^\{?"op":"([^"]*)"/;
const WRITER = /"w":"([^"]*)"/;
const UUID = /"u":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"/;
const UUIDS = /"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"/g;
const PLACE = /"p":\[(\d+),(\d+)\]/;
const PLACES = /"c":\[((?:\[[\d,]+\],?)+)\]/;
/** By what stands there where the operation cannot be read: no other has its uuid at that place, or these two side by side. */
const ADD_UUID = '{"op":"add",'.length;
/** What stands behind an add's uuid, up to its writer: nothing else may. */
const BIRTH =
  /^(?:,"a":"(?:[^"\\]|\\.)*")?(?:,"r":\d+)?(?:,"d":(-?\d+))?(?:,"x":(1))?(?:,"by":"(?:[^"\\]|\\.)*")?,"w":"/;
const SHAPES = {
  update: /"p":\[\d+,\d+\],"at":\[/,
  remove: /"p":\[\d+,\d+\],"u":"/,
  done: /"u":\["/,
  purge: /"(?:.urge|p.rge|pu.ge|pur.e|purg.)","w":/,
};

export function legible(line: Buffer): Legible {
  const header = headerIn(line);
  const op = operationOf(header);
  const birth = op === 'add' ? birthIn(header) : undefined;
  // One digit becomes another by one bit. Where it is one bit that has changed, the checksum tells which.
  const isOpen = op === 'add' && birth?.phase.state !== 'ready';
  const sound = isOpen ? withoutFlaw(line) : undefined;
  return {
    uuid: UUID.exec(header)?.[1],
    op,
    isAdd: op === 'add',
    birth: sound ? birthIn(headerIn(sound)) : birth,
    isDateOpen: isOpen && !sound,
    change: changeIn(header, op),
    writer: writerIn(line, header),
    lastWriter: lastWriterIn(line),
  };
}

/** '' where nothing tells where it begins: the line is what is left of one. */
function headerIn(line: Buffer): string {
  const text = line.toString('latin1', 0, LONGEST_LOOK);
  const shifted = SHIFTED.exec(text)?.[0].length;
  if (shifted === undefined && !startsLikeRecord(line)) return '';
  const from = shifted ?? PREFIX;
  const rest = text.slice(from);
  const closed = endOf(rest);
  const whole = rest.slice(0, closed);
  if (closed !== undefined && isJson(whole)) return whole;
  // Some of what tells its end is damaged: what is behind the nearest that it may be is perhaps the payload's.
  const length = LENGTH.exec(text.slice(0, from))?.[1];
  const told = length === undefined ? SHORTEST : Number.parseInt(length, 16);
  if (/^\}[,\]]/.test(rest.slice(told - 1))) return rest.slice(0, told);
  return rest.slice(0, Math.min(told, closed ?? told));
}

/** Behind the brace that closes it; its first one may be damaged. */
function endOf(header: string): number | undefined {
  let depth = header.startsWith('{') ? 0 : 1;
  for (const { 0: token, index } of header.matchAll(TOKENS)) {
    if (token === '{') depth++;
    else if (token === '}' && --depth === 0) return index + 1;
  }
  return undefined;
}

/** Behind zeros that are not within one line, another record's may stand. */
function writerIn(line: Buffer, header: string): string | undefined {
  const zero = lineLength(line, 0) === line.length ? -1 : header.indexOf('\0');
  return WRITER.exec(zero < 0 ? header : header.slice(0, zero))?.[1];
}

function lastWriterIn(line: Buffer): string | undefined {
  const zero = line.lastIndexOf(0);
  return zero < 0 ? undefined : WRITER.exec(line.toString('latin1', zero + 1, zero + 1 + BEGINNING))?.[1];
}

function operationOf(header: string): string | undefined {
  if (header.startsWith('"u":"', ADD_UUID)) return 'add';
  const op = OPERATION.exec(header)?.[1];
  if (op !== undefined && isKnown({ op } as Header)) return op;
  return Object.entries(SHAPES).find(([, shape]) => shape.test(header))?.[0];
}

function birthIn(header: string): Life | undefined {
  const found = BIRTH.exec(header.slice(SHORTEST));
  if (!found) return undefined;
  const due = found[1] === undefined ? undefined : Number(found[1]);
  return due === undefined || isTime(due) ? born(due, found[2] !== undefined) : undefined;
}

function changeIn(header: string, op: string | undefined): Change | undefined {
  if (op === 'update' || op === 'remove') {
    const place = PLACE.exec(header);
    const places: Place[] = place ? [[Number(place[1]), Number(place[2])]] : [];
    const uuid = UUID.exec(header)?.[1];
    if (uuid === undefined && !place) return undefined;
    return { what: op === 'update' ? 'update' : 'end', uuids: uuid === undefined ? [] : [uuid], places };
  }
  if (op === 'purge') return { what: 'purge', uuids: [], places: [] };
  if (op !== 'done') return undefined;
  const uuids = (header.match(UUIDS) ?? []).map((quoted) => quoted.slice(1, -1));
  const groups = (PLACES.exec(header)?.[1] ?? '').match(/\d+(?:,\d+)*/g) ?? [];
  const places = groups.flatMap((group): Place[] => {
    const [segment, ...offsets] = group.split(',').map(Number);
    return offsets.map((offset) => [segment!, offset]);
  });
  return uuids.length + places.length > 0 ? { what: 'end', uuids, places } : undefined;
}
