/**
 * What a process of the torture writes down: what it is about to ask of the product, and what it was told. Outside the
 * product, a line at a time to a file of its own, in the page cache at once, so that it outlives any kill.
 *
 * A kill may come between the answer and its line, or between a line and the call that it announces. Either way there is
 * a call without an answer, and the checker must allow for both: that it happened, and that it did not.
 */
import { openSync, writeSync } from 'node:fs';

/** Milliseconds on the machine's monotonic clock, which all its processes share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** A message about to be added. */
export interface New {
  /** In its payload, and like no other's in the round. */
  id: string;
  alias: string;
  /** Put off until this time by the monotonic clock. */
  due?: number;
  disabled?: boolean;
}

/** A message as a process got to see it. */
export interface Seen {
  /** '' when its payload was not what anybody had added. */
  id: string;
  /** Which of its payloads: its id, or that of an update. */
  version: string;
  uuid: string;
}

export interface Given extends Seen {
  alias: string;
  /** Position: segment and offset. Absent where the message was taken. */
  at?: [segment: number, offset: number];
  crashes: number;
}

export type Ending = 'complete' | 'fail' | 'final' | 'release' | 'renew';

/** Everything that is asked, and how it is answered. */
export interface Deeds {
  add: { asked: { messages: New[] }; answer: { id: string; uuid: string; duplicate: boolean }[] };
  claim: { asked: { limit: number; lease: number }; answer: Given[] };
  take: { asked: object; answer: Given[] };
  /** `claim`: the number of the call that the token came from. `due`: monotonic, of a failed try. */
  settle: { asked: { claim: number; id: string; how: Ending; due?: number }; answer: boolean };
  update: { asked: { id: string; version: string }; answer: boolean };
  set: { asked: { id: string }; answer: boolean };
  remove: { asked: { id: string }; answer: boolean };
  cancel: { asked: { id: string }; answer: boolean };
  retry: { asked: object; answer: true };
  purge: { asked: object; answer: true };
  pause: { asked: object; answer: true };
  resume: { asked: object; answer: true };
  create: { asked: object; answer: boolean };
  destroy: { asked: object; answer: boolean };
  status: { asked: object; answer: { counts: number[]; processed: number; damaged: number } };
  find: { asked: object; answer: Seen[] };
  verify: { asked: object; answer: { sound: boolean; damage: string[]; messages: number } };
}

export type Deed = keyof Deeds;

/** What is noted beside calls. */
export type Mark =
  /** It has opened what it works with. */
  | { mark: 'opened' }
  /** It kills or stops itself now, at a point that has a name. */
  | { mark: 'dies' | 'stops'; point: string }
  /** It has met something that must not be. */
  | { mark: 'fault'; text: string }
  /** It has come to its end by itself. */
  | { mark: 'ended' };

export type Line = { t: number } & (
  | Mark
  | { call: number; deed: Deed; queue: string; asked: Deeds[Deed]['asked'] }
  | { call: number; answer: Deeds[Deed]['answer'] }
  | { call: number; error: { code: string; message: string } }
);

export class Diary {
  readonly #fd: number;
  readonly #beforeAnswer: () => void;
  #calls = 0;

  /** @param beforeAnswer called between an answer and its line. */
  constructor(path: string, beforeAnswer: () => void) {
    this.#fd = openSync(path, 'a');
    this.#beforeAnswer = beforeAnswer;
  }

  mark(mark: Mark): void {
    this.#write(mark);
  }

  /**
   * Notes the call, makes it and notes the answer, of which `note` makes what is written down. Resolves with the answer
   * and the number of the call; rejects with what the product did, also noted.
   */
  async call<D extends Deed, T>(
    deed: D,
    queue: string,
    asked: Deeds[D]['asked'],
    act: () => Promise<T>,
    note: (answer: T) => Deeds[D]['answer'],
  ): Promise<{ answer: T; call: number }> {
    const call = ++this.#calls;
    this.#write({ call, deed, queue, asked });
    try {
      const answer = await act();
      this.#beforeAnswer();
      this.#write({ call, answer: note(answer) });
      return { answer, call };
    } catch (error) {
      const { code = 'none', message } = error as NodeJS.ErrnoException;
      this.#write({ call, error: { code, message } });
      throw error;
    }
  }

  #write(line: object): void {
    writeSync(this.#fd, `${JSON.stringify({ t: now(), ...line })}\n`);
  }
}
