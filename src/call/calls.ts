/** Carries out calls: finds the method, completes its arguments, and makes an answer of whatever becomes of it. Never rejects. */
import { QueueError, quote } from '../errors.ts';
import type { Json } from '../message.ts';
import { encodePayload } from '../payload.ts';
import { checkSchema, fitOf, type StandardSchema } from '../standard-schema.ts';
import { toTryError } from '../try-error.ts';
import type { Log } from '../worker/log.ts';
import { SUCCESS, answerOf, refusal, type CallAnswer } from './codes.ts';
import {
  bind,
  refuse,
  type CallMethod,
  type CallMethodClass,
  type CallRun,
  type MethodServer,
} from './method.ts';
import { put, type CallRequest } from './packet.ts';

/** Bytes of JSON. */
const LARGEST_RESULT = 64 * 1024 ** 2;

export interface CallsOptions {
  readonly server: MethodServer;
  readonly methods: ReadonlyMap<string, CallMethodClass>;
  /** Called when there is none of that name. */
  readonly notFound: () => CallMethodClass;
  /** Calls at once. */
  readonly limit: number;
  /** Milliseconds that a call waits for others to end. */
  readonly patience: number;
  readonly logFor: (name: string) => Log;
}

export class Calls {
  readonly #options: CallsOptions;
  /** Fires when nobody waits for the calls any longer. */
  readonly #given = new AbortController();
  readonly #waiting = new Set<(isFree: boolean) => void>();
  #running = 0;
  #isClosing = false;
  #onQuiet: () => void = () => undefined;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** How many are under way. */
  get running(): number {
    return this.#running;
  }

  get isFull(): boolean {
    return this.#running >= this.#options.limit;
  }

  /** Resolves with the answer, when the call has ended. */
  async answer(request: CallRequest): Promise<CallAnswer> {
    if (this.isFull && !this.#isClosing && !(await this.#turn())) {
      if (!this.#isClosing)
        return refusal('BUSY', `${this.#options.limit} calls are under way; try again later`);
    }
    if (this.#isClosing) return refusal('CLOSED', 'the server is closing');
    this.#running++;
    try {
      return await this.#carryOut(request);
    } finally {
      this.#running--;
      const [next] = this.#waiting;
      next?.(true);
      if (this.#running === 0) this.#onQuiet();
    }
  }

  /** Begins no more calls; resolves when those under way have ended, or with their number when the signal fires before. */
  async close(signal: AbortSignal | undefined): Promise<number> {
    this.#isClosing = true;
    for (const next of this.#waiting) next(false);
    const giveUp = (): void => {
      this.#given.abort(signal?.reason);
      this.#onQuiet();
    };
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
        if (signal?.aborted) giveUp();
        else signal?.addEventListener('abort', giveUp, { once: true });
      });
      signal?.removeEventListener('abort', giveUp);
    }
    return this.#running;
  }

  /** Resolves with whether it may begin. */
  #turn(): Promise<boolean> {
    return new Promise((resolve) => {
      const decide = (isFree: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(decide);
        resolve(isFree);
      };
      const timer = setTimeout(decide, this.#options.patience, false);
      this.#waiting.add(decide);
    });
  }

  async #carryOut({ name, args }: CallRequest): Promise<CallAnswer> {
    const { server, methods, notFound } = this.#options;
    const log = this.#options.logFor(name);
    const run: CallRun = { server, callName: name, log, signal: this.#given.signal, args, answer: undefined };
    const Method = methods.get(name) ?? notFound();
    let method: CallMethod<object>;
    try {
      method = new Method();
      bind(method, run);
    } catch (error) {
      return failed(log, error);
    }
    try {
      if (await complete(method, run, args)) await perform(method, run);
    } catch (error) {
      run.answer = failed(log, error);
    }
    try {
      await method.finish?.();
    } catch (error) {
      run.answer = failed(log, error);
    }
    return plain(run, log);
  }
}

/** Resolves with whether the arguments are what the method wants. */
async function complete(
  method: CallMethod<object>,
  run: CallRun,
  sent: Readonly<Record<string, Json>>,
): Promise<boolean> {
  const { defaultArgs, schema } = method;
  run.args = defaultArgs ? completed(defaultArgs, sent) : sent;
  if (schema === undefined) return true;
  const fit = await fitOf(checkSchema(schema) as StandardSchema<unknown, object>, run.args);
  if ('issues' in fit) {
    const issues = fit.issues.map((issue) => issue.replace(/^data/, 'args')).join('; ');
    refuse(method, 'INVALID_ARGUMENT', issues);
    return false;
  }
  run.args = fit.value;
  return true;
}

function completed(defaults: object, sent: Readonly<Record<string, Json>>): object {
  const args: Record<string, Json> = {};
  for (const [name, value] of Object.entries(defaults) as [string, Json][])
    // A copy: a method may change what it was given, and the next call must not see it.
    put(args, name, Object.hasOwn(sent, name) ? sent[name]! : structuredClone(value));
  return args;
}

async function perform(method: CallMethod<object>, run: CallRun): Promise<void> {
  const isWilling = await method.prepare?.();
  if (isWilling === false && !method.hasError)
    refuse(method, 'REFUSED', `${quote(run.callName)} was refused`);
  if (method.hasError) return;
  await method.execute();
  run.answer ??= { code: SUCCESS, message: '', result: null };
}

/** The answer as JSON leaves it. */
function plain({ answer }: CallRun, log: Log): CallAnswer {
  if (answer === undefined) return refusal('METHOD_FAILED', 'the method has not answered');
  try {
    const { code, message, result } = answer;
    const json = encodePayload(result === undefined ? null : result, 'result', LARGEST_RESULT);
    const text = typeof message === 'string' ? message : quote(message);
    return { code, message: text, result: JSON.parse(json) as Json };
  } catch (error) {
    if (error instanceof QueueError && error.code === 'MESSAGE_TOO_LARGE')
      return refusal('ANSWER_TOO_LARGE', error.message);
    log.error('the call has been carried out, but its result cannot be sent', {
      error: answerOf(error).message,
    });
    return refusal('METHOD_FAILED', answerOf(error).message);
  }
}

/** What a method throws is its caller's only as far as the message goes; its stack is for the log. */
function failed(log: Log, thrown: unknown): CallAnswer {
  const { name, message, stack } = toTryError(thrown, 1, 0);
  // Of what the caller asks that cannot be, such as a queue that there is not, nobody here has to hear.
  if (thrown instanceof QueueError) log.debug(`refused: ${message}`, { code: thrown.code });
  else log.error(`failed: ${message}`, { error: name, stack });
  return answerOf(thrown);
}
