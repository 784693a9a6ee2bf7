/** What the bytes of a damaged line still say of the record that it was. Nothing of it is verified. */
import { isKnown } from './header.ts';
import type { Place } from './operations.ts';
import { PREFIX } from './record.ts';
import type { Header } from './state.ts';

export interface Legible {
  /** Of the message it was about. */
  uuid: string | undefined;
  /** Its operation, where that is known. */
  op: string | undefined;
  isAdd: boolean;
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

/** As much of a line as it mostly takes to say which message it is about. */
const BEGINNING = 400;
const LONGEST_LOOK = 64 * 1024;
const OPERATION = /"op":"([^"]*)"/;
const WRITER = /"w":"([^"]*)"/;
const UUID = /"u":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"/;
const UUIDS = /"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"/g;
const PLACE = /"p":\[(\d+),(\d+)\]/;
const PLACES = /"c":\[((?:\[[\d,]+\],?)+)\]/;
/** By what stands there where the operation cannot be read: no other has its uuid at that place, or these two side by side. */
const ADD_UUID = PREFIX + '{"op":"add",'.length;
const SHAPES = {
  update: /"p":\[\d+,\d+\],"at":\[/,
  remove: /"p":\[\d+,\d+\],"u":"/,
  done: /"u":\["/,
  purge: /"(?:.urge|p.rge|pu.ge|pur.e|purg.)","w":/,
};

export function legible(line: Buffer): Legible {
  const text = line.toString('latin1', 0, BEGINNING);
  const op = operationOf(text);
  return {
    uuid: UUID.exec(text)?.[1],
    op,
    isAdd: op === 'add',
    change: changeIn(line, text, op),
    writer: WRITER.exec(text)?.[1],
    lastWriter: lastWriterIn(line),
  };
}

function lastWriterIn(line: Buffer): string | undefined {
  const zero = line.lastIndexOf(0);
  return zero < 0 ? undefined : WRITER.exec(line.toString('latin1', zero + 1, zero + 1 + BEGINNING))?.[1];
}

function operationOf(text: string): string | undefined {
  const op = OPERATION.exec(text)?.[1];
  if (op !== undefined && isKnown({ op } as Header)) return op;
  if (text.startsWith('"u":"', ADD_UUID)) return 'add';
  return Object.entries(SHAPES).find(([, shape]) => shape.test(text))?.[0];
}

function changeIn(line: Buffer, text: string, op: string | undefined): Change | undefined {
  if (op === 'update' || op === 'remove') {
    const place = PLACE.exec(text);
    const places: Place[] = place ? [[Number(place[1]), Number(place[2])]] : [];
    const uuid = UUID.exec(text)?.[1];
    if (uuid === undefined && !place) return undefined;
    return { what: op === 'update' ? 'update' : 'end', uuids: uuid === undefined ? [] : [uuid], places };
  }
  if (op === 'purge') return { what: 'purge', uuids: [], places: [] };
  if (op !== 'done') return undefined;
  const whole = line.toString('latin1', 0, LONGEST_LOOK);
  const uuids = (whole.match(UUIDS) ?? []).map((quoted) => quoted.slice(1, -1));
  const groups = (PLACES.exec(whole)?.[1] ?? '').match(/[\d,]*\d/g) ?? [];
  const places = groups.flatMap((group): Place[] => {
    const [segment, ...offsets] = group.split(',').map(Number);
    return offsets.map((offset) => [segment!, offset]);
  });
  return uuids.length + places.length > 0 ? { what: 'end', uuids, places } : undefined;
}
