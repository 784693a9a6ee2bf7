/**
 * The diaries of a round, put together: every call with the span of time in which it took effect, if it did; and of each
 * message what was asked for and seen.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Deed, Deeds, Given, Line, New } from './diary.ts';
import type { End } from './director.ts';

/** Of one kind of call, or of any. */
export interface Call<D extends Deed = Deed> {
  /** Of the process. */
  number: number;
  call: number;
  deed: D;
  queue: string;
  asked: Deeds[D]['asked'];
  /** It had no effect before this time, and none after that. */
  from: number;
  to: number;
  /** Absent: nobody knows what it did, or whether it did anything. */
  answer?: Deeds[D]['answer'];
  error?: { code: string; message: string };
}

/** A message handed to a process. */
export interface Delivery {
  call: Call<'claim'> | Call<'take'>;
  given: Given;
  /** By its token, in order. */
  settles: Call<'settle'>[];
}

/** All that concerns one message. */
export interface Mail {
  id: string;
  queue: string;
  message: New;
  add: Call<'add'>;
  /** `duplicate`: it was told that another stands in its place, so it must never be seen. */
  fate: 'added' | 'duplicate' | 'unknown';
  uuid: string | undefined;
  deliveries: Delivery[];
  updates: Call<'update'>[];
  sets: Call<'set'>[];
  removes: Call<'remove'>[];
  cancels: Call<'cancel'>[];
}

export interface Violation {
  kind: 'lost' | 'twice' | 'other';
  text: string;
  /** The message that it is about. */
  id?: string;
}

/** What concerns one queue. */
export interface QueueHistory {
  name: string;
  calls: Call[];
  mails: Mail[];
}

export interface History {
  calls: Call[];
  mails: Map<string, Mail>;
  /** Deliveries of what nobody has added. */
  strays: Delivery[];
  /** When each process gave its last sign of life. */
  lastSign: Map<number, number>;
  /** Those that have come to their end by themselves, and without a fault. */
  ended: Set<number>;
  faults: string[];
  /** How often a process has met the point that it died or stopped at. */
  points: Map<string, number>;
}

export function is<D extends Deed>(call: Call, deed: D): call is Call<D> {
  return call.deed === deed;
}

/** The calls of one kind, in order of their beginning. */
export function callsOf<D extends Deed>(calls: readonly Call[], deed: D, queue?: string): Call<D>[] {
  return calls.filter(
    (call): call is Call<D> => is(call, deed) && (queue === undefined || call.queue === queue),
  );
}

/** Whether it surely had an effect. */
export function sure(call: Call): boolean {
  return call.answer !== undefined && call.answer !== false;
}

/** Whether it may have had one. */
export function maybe(call: Call): boolean {
  return call.answer !== false;
}

export function readHistory(folder: string, ends: ReadonlyMap<number, End>): History {
  const history: History = {
    calls: [],
    mails: new Map(),
    strays: [],
    lastSign: new Map(),
    ended: new Set(),
    faults: [],
    points: new Map(),
  };
  for (const name of readdirSync(folder)) {
    const number = Number(name);
    // The last line may have been cut off with its process.
    const lines = readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1);
    readDiary(
      history,
      number,
      lines.map((line) => JSON.parse(line) as Line),
      ends.get(number)?.to ?? Infinity,
    );
  }
  history.calls.sort((a, b) => a.from - b.from);
  for (const call of history.calls) if (is(call, 'add')) noteAdd(history, call);
  const claims = new Map<string, Delivery>();
  for (const call of history.calls) noteCall(history, call, claims);
  return history;
}

function readDiary(history: History, number: number, lines: readonly Line[], end: number): void {
  const open = new Map<number, Call>();
  for (const line of lines) {
    const { t } = line;
    history.lastSign.set(number, t);
    if ('mark' in line) {
      if (line.mark === 'ended') history.ended.add(number);
      if (line.mark === 'fault') history.faults.push(`process ${number}: ${line.text}`);
      if (line.mark === 'dies' || line.mark === 'stops')
        history.points.set(line.point, (history.points.get(line.point) ?? 0) + 1);
    } else if ('deed' in line) {
      const { call, deed, queue, asked } = line;
      open.set(call, { number, call, deed, queue, asked, from: t, to: end });
    } else {
      const call = open.get(line.call)!;
      call.to = t;
      if ('answer' in line) call.answer = line.answer;
      else call.error = line.error;
    }
  }
  for (const call of open.values()) history.calls.push(call);
}

function noteAdd({ mails }: History, add: Call<'add'>): void {
  for (const [i, message] of add.asked.messages.entries()) {
    const told = add.answer?.[i];
    mails.set(message.id, {
      id: message.id,
      queue: add.queue,
      message,
      add,
      fate: !told ? 'unknown' : told.duplicate ? 'duplicate' : 'added',
      uuid: told && !told.duplicate ? told.uuid : undefined,
      deliveries: [],
      updates: [],
      sets: [],
      removes: [],
      cancels: [],
    });
  }
}

function noteCall(history: History, call: Call, claims: Map<string, Delivery>): void {
  const mail = 'id' in call.asked ? history.mails.get(call.asked.id) : undefined;
  if (is(call, 'claim') || is(call, 'take')) {
    for (const given of call.answer ?? []) {
      const delivery: Delivery = { call, given, settles: [] };
      const to = history.mails.get(given.id)?.deliveries ?? history.strays;
      to.push(delivery);
      claims.set(`${call.number} ${call.call} ${given.id}`, delivery);
    }
  } else if (is(call, 'settle')) {
    claims.get(`${call.number} ${call.asked.claim} ${call.asked.id}`)?.settles.push(call);
  } else if (is(call, 'update')) mail?.updates.push(call);
  else if (is(call, 'set')) mail?.sets.push(call);
  else if (is(call, 'remove')) mail?.removes.push(call);
  else if (is(call, 'cancel')) mail?.cancels.push(call);
}
