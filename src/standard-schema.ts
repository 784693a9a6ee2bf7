/**
 * Standard Schema v1 (standardschema.dev): the one face that zod, valibot, arktype and others give their schemas. Only
 * their objects come in here; none of these libraries is ever imported. A schema is its author's code, and what it says
 * of a misfit was often made from the data, so both are kept at arm's length: each reason is one short line without
 * control characters, and there are few.
 */
import { QueueError, escapeControls, quote } from './errors.ts';
import type { QueueErrorCode } from './errors.ts';

/** What checks a payload. `Input` goes in, `Output`, possibly something else, comes out. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Exists in types only. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema takes. */
export type InferInput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['input'];
/** What a schema makes of it. */
export type InferOutput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output'];

/** Data that fits, as the schema hands it on, or the reasons why it does not, each a line such as `data.to: …`. */
export type Fit<Output> = { readonly value: Output } | { readonly issues: string[] };

/** Lines, the one that counts the rest included. */
const MOST_ISSUES = 20;
const LONGEST_ISSUE = 200;
const MOST_STEPS = 8;
const LONGEST_STEP = 40;

/**
 * Runs a schema over data: an answer at once when the schema gives one at once, else a promise. There is at least one
 * issue, and at most 20, when the data does not fit. What the schema throws, or rejects with, is thrown or rejected
 * with; so is INVALID_ARGUMENT when it answers what no Standard Schema answers.
 */
export function fitOf<Output>(
  schema: StandardSchema<unknown, Output>,
  value: unknown,
): Fit<Output> | Promise<Fit<Output>> {
  const result = schema['~standard'].validate(value);
  return isThenable(result) ? Promise.resolve(result).then(fitFrom<Output>) : fitFrom<Output>(result);
}

/**
 * The value as a schema. Looks at its face only, and runs nothing of it but getters. Errors: `code`.
 * @param what how to call it in the error: `schema`.
 */
export function checkSchema(
  value: unknown,
  what = 'schema',
  code: QueueErrorCode = 'INVALID_ARGUMENT',
): StandardSchema {
  const fault = faultOf(value);
  if (fault === undefined) return value as StandardSchema;
  throw new QueueError(
    code,
    `${what}: expected a Standard Schema (zod, valibot, arktype, …), received ${fault}`,
  );
}

function faultOf(value: unknown): string | undefined {
  // arktype's schemas are functions.
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return quote(value);
  const kind = typeof value === 'object' ? 'an object' : 'a function';
  try {
    const face: unknown = (value as Record<string, unknown>)['~standard'];
    if (typeof face !== 'object' || face === null) return `${kind} without a property '~standard'`;
    const { version, validate } = face as Record<string, unknown>;
    if (version !== 1) return `one of version ${quote(version)}, not 1`;
    return typeof validate === 'function' ? undefined : 'one without a function validate';
  } catch {
    return `${kind} that cannot be looked at`;
  }
}

function isThenable<T>(value: T | Promise<T>): value is Promise<T> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}

function fitFrom<Output>(result: SchemaResult<Output>): Fit<Output> {
  if (typeof result !== 'object' || result === null) {
    throw new QueueError(
      'INVALID_ARGUMENT',
      `expected the schema to answer { value } or { issues }, received ${quote(result)}`,
    );
  }
  const { issues } = result;
  return issues ? { issues: linesOf(issues) } : { value: (result as { value: Output }).value };
}

function linesOf(issues: readonly SchemaIssue[]): string[] {
  const count = read(issues, 'length');
  const total = typeof count === 'number' && count >= 1 ? count : 1;
  const shown = total > MOST_ISSUES ? MOST_ISSUES - 1 : total;
  const lines = Array.from({ length: shown }, (_, index) => lineOf(read(issues, index)));
  if (total > shown) lines.push(`and ${total - shown} more`);
  return lines;
}

function lineOf(issue: unknown): string {
  const message = read(issue, 'message');
  const text = typeof message === 'string' && message.trim() !== '' ? message : 'does not fit';
  const cut = text.length > LONGEST_ISSUE ? `${text.slice(0, LONGEST_ISSUE)}…` : text;
  return `${placeOf(read(issue, 'path'))}: ${escapeControls(cut)}`;
}

/** `data.to[0]`; of a long path the beginning. */
function placeOf(path: unknown): string {
  const length = read(path, 'length');
  const steps = typeof length === 'number' && length >= 1 ? Math.ceil(length) : 0;
  const shown = Array.from({ length: Math.min(steps, MOST_STEPS) }, (_, index) => stepOf(read(path, index)));
  return `data${shown.join('')}${steps > MOST_STEPS ? '…' : ''}`;
}

function stepOf(step: unknown): string {
  const key = typeof step === 'object' && step !== null ? read(step, 'key') : step;
  if (typeof key === 'number') return `[${key}]`;
  if (typeof key === 'string') return /^[\w$]{1,40}$/.test(key) ? `.${key}` : `.${quote(key, LONGEST_STEP)}`;
  return typeof key === 'symbol' ? `[${quote(String(key), LONGEST_STEP)}]` : '[…]';
}

function read(value: unknown, key: string | number): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  try {
    return (value as Record<string | number, unknown>)[key];
  } catch {
    return undefined;
  }
}
