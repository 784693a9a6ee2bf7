/**
 * What the supervisor answers, as far as the verbs of `ctl` look at it. Anything may listen where one is expected, so what
 * is read is checked first. Errors of all functions here: API_REFUSED: it is something else.
 */
import { QueueError, quote } from '../../../src/errors.ts';
import type { Answer } from '../../../src/supervisor/shape.ts';

export interface Child {
  readonly id: string;
  readonly state: string;
  readonly pid: number | null;
  readonly startedAt: string | null;
  readonly restarts: number;
  readonly failures: number;
  readonly lastEnd: { readonly at: string; readonly why: string; readonly failed: boolean } | null;
  readonly nextStartAt: string | null;
  readonly memory: number | null;
  readonly healthy: boolean | null;
  readonly status?: { readonly result?: unknown; readonly error?: { readonly message: string } };
}

export interface Process {
  readonly name: string;
  readonly kind: string;
  readonly target: string;
  readonly wanted: number;
  readonly children: readonly Child[];
}

export interface Status {
  readonly master: {
    readonly name: string;
    readonly pid: number;
    readonly startedAt: string;
    readonly state: string;
  };
  readonly processes: readonly Process[];
}

export interface Answers {
  readonly answers: readonly Answer[];
}

export interface Event {
  readonly id: number;
  readonly at: string;
  readonly type: string;
  readonly process: string | null;
  readonly child: string | null;
  readonly data: unknown;
}

export function statusOf(answer: unknown): Status {
  return expecting('the status of a supervisor', answer, isStatus);
}

export function processOf(answer: unknown): Process {
  return expecting('a process', answer, isProcess);
}

export function answersOf(answer: unknown): Answers {
  return expecting('answers of children', answer, isAnswers);
}

/** @param text of the line that carries it. */
export function eventOf(text: string): Event {
  let event: unknown;
  try {
    event = JSON.parse(text);
  } catch {
    event = text;
  }
  return expecting('an event', event, isEvent);
}

function expecting<T>(what: string, answer: unknown, is: (answer: unknown) => answer is T): T {
  if (is(answer)) return answer;
  throw new QueueError('API_REFUSED', `expected ${what} from the supervisor, received ${quote(answer)}`);
}

type Check = (value: unknown) => boolean;

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

/** Most moments are shown as how long ago they were. */
function isMoment(value: unknown): boolean {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value));
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number';
}

function isTruth(value: unknown): boolean {
  return typeof value === 'boolean';
}

function orNull(check: Check): Check {
  return (value) => value === null || check(value);
}

function optional(check: Check): Check {
  return (value) => value === undefined || check(value);
}

function listOf(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

function has(checks: Readonly<Record<string, Check>>): Check {
  return (value) =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(checks).every(([key, check]) => check((value as Record<string, unknown>)[key]));
}

const isChild = has({
  id: isText,
  state: isText,
  pid: orNull(isNumber),
  startedAt: orNull(isMoment),
  restarts: isNumber,
  failures: isNumber,
  lastEnd: orNull(has({ at: isMoment, why: isText, failed: isTruth })),
  nextStartAt: orNull(isMoment),
  memory: orNull(isNumber),
  healthy: orNull(isTruth),
  status: optional(has({ error: optional(has({ message: isText })) })),
});

const isProcess = has({
  name: isText,
  kind: isText,
  target: isText,
  wanted: isNumber,
  children: listOf(isChild),
}) as (answer: unknown) => answer is Process;

const isStatus = has({
  master: has({ name: isText, pid: isNumber, startedAt: isMoment, state: isText }),
  processes: listOf(isProcess),
}) as (answer: unknown) => answer is Status;

const isGiven = has({ child: isText, ok: (value) => value === true });
const isRefused = has({
  child: isText,
  ok: (value) => value === false,
  error: has({ code: isText, message: isText }),
});
const isAnswers = has({ answers: listOf((value) => isGiven(value) || isRefused(value)) }) as (
  answer: unknown,
) => answer is Answers;

const isEvent = has({
  id: isNumber,
  at: isMoment,
  type: isText,
  process: orNull(isText),
  child: orNull(isText),
  data: (value) => value !== undefined,
}) as (answer: unknown) => answer is Event;
