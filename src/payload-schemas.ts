/**
 * The schemas that a manager was opened with, and the check of payloads against them. What is checked is what will be
 * stored, the data as JSON leaves it: the worker's schema will see just that, and no schema can change its caller's data
 * or look at it later than at the call.
 */
import type { Queue } from './backend.ts';
import { QueueError, quote } from './errors.ts';
import { checkSchema, fitOf } from './standard-schema.ts';
import type { Fit, StandardSchema } from './standard-schema.ts';
import { checkQueueName } from './validate.ts';

/** What to ask of a queue. */
export type Question<T> = (open: Queue) => Promise<T>;

/** What carries a payload, as JSON text; without one there is nothing to check. */
interface Payload {
  readonly json?: string;
}

export class PayloadSchemas {
  readonly #schemas: ReadonlyMap<string, StandardSchema>;
  /** Of each queue whose schema has kept a call waiting: done when the checks of all calls so far are. */
  readonly #lines = new Map<string, Promise<void>>();

  /** @param given as programs hand it in. Errors: CONFIG_INVALID, INVALID_QUEUE_NAME. */
  constructor(given: unknown) {
    this.#schemas = schemasFrom(given);
  }

  /**
   * Checks payloads and returns what to ask of the queue for them. Of a schema that answers at once, a misfit is thrown
   * here, and the question is returned as it is. Else it is asked when the checks have ended, those of earlier calls for
   * the queue too, so that questions keep the order of the calls; a misfit is then its rejection. The payloads of one
   * call are checked one after another, and the first misfit ends that.
   * Errors: INVALID_MESSAGE, naming the message by its index where there are `several`.
   */
  whenFit<T>(
    queue: string,
    payloads: readonly Payload[],
    question: Question<T>,
    several = false,
  ): Question<T> {
    const schema = this.#schemas.get(queue);
    if (!schema) return question;
    const check = checkAll({ schema, queue, payloads, several });
    const before = this.#lines.get(queue);
    // Once in line, always in line: when a line has ended, its last question may still wait for the queue to open.
    if (!check && !before) return question;
    const checked = Promise.all([check, before]);
    // This is also what keeps a misfit from counting as unhandled where the question is never asked.
    const line = Promise.allSettled([checked, before]).then(() => undefined);
    this.#lines.set(queue, line);
    return async (open) => {
      await checked;
      return question(open);
    };
  }
}

function schemasFrom(given: unknown): Map<string, StandardSchema> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new QueueError(
      'CONFIG_INVALID',
      `option schemas: expected an object { queue: schema, … }, received ${quote(given)}`,
    );
  }
  const schemas = new Map<string, StandardSchema>();
  for (const [queue, schema] of Object.entries(given) as [string, unknown][]) {
    if (schema === undefined) continue;
    checkQueueName(queue);
    schemas.set(queue, checkSchema(schema, `option schemas: ${queue}`, 'CONFIG_INVALID'));
  }
  return schemas;
}

interface Work {
  schema: StandardSchema;
  queue: string;
  payloads: readonly Payload[];
  several: boolean;
}

/** Undefined when all fit; a promise as soon as the schema takes its time. */
function checkAll(work: Work): Promise<void> | undefined {
  for (let index = 0; index < work.payloads.length; index++) {
    const check = checkOne(work, index);
    if (check) return checkRest(work, check, index + 1);
  }
  return undefined;
}

async function checkRest(work: Work, check: Promise<void>, next: number): Promise<void> {
  await check;
  for (let index = next; index < work.payloads.length; index++) await checkOne(work, index);
}

function checkOne(work: Work, index: number): Promise<void> | undefined {
  const json = work.payloads[index]?.json;
  if (json === undefined) return undefined;
  const threw = (cause: unknown): never => {
    const what = cause instanceof Error ? quote(cause.message, 200) : quote(cause);
    throw misfit(work, index, `cannot be checked, the schema of queue ${work.queue} threw ${what}`, cause);
  };
  const look = (fit: Fit<unknown>): void => {
    if (!('issues' in fit)) return;
    const reasons = fit.issues.join('; ');
    throw misfit(work, index, `does not fit the schema of queue ${work.queue}: ${reasons}`);
  };
  let fit: Fit<unknown> | Promise<Fit<unknown>>;
  try {
    fit = fitOf(work.schema, JSON.parse(json));
  } catch (cause) {
    return threw(cause);
  }
  if (fit instanceof Promise) return fit.then(look, threw);
  look(fit);
  return undefined;
}

function misfit({ queue, payloads, several }: Work, index: number, why: string, cause?: unknown): QueueError {
  const which = several ? `message ${index} of 0 to ${payloads.length - 1}: its data` : 'data';
  return new QueueError('INVALID_MESSAGE', `${which} ${why}`, { queue, cause });
}
