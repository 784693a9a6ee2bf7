/** What the author of a method sees: the class to extend. Nothing of how it is called. */
import { QueueError, quote } from '../errors.ts';
import type { Json } from '../message.ts';
import type { StandardSchema } from '../standard-schema.ts';
import type { Log } from '../worker/log.ts';
import { SUCCESS, refusal } from './codes.ts';

// A method's file may come with its own copy of this module, so that `instanceof` would not know its class.
const RUN = Symbol.for('coda-queue.CallMethod');

/**
 * What other programs can call. Each call has an instance of its own:
 *
 *   arguments completed ──► prepare ──► execute ──► finish ──► answer
 *          │ do not fit        │ says no    │ fails     ▲
 *          └───────────────────┴────────────┴───────────┘
 *
 * What a method throws is logged, and its message is the answer.
 *
 * @typeParam Args what `args` holds.
 */
export abstract class CallMethod<Args extends object = Readonly<Record<string, Json>>> {
  // Declared only: fields of this class would hide what a JavaScript method defines as `get defaultArgs()`.

  /** The arguments that there are, each with the value that it has when it is not sent; others are left out. Without it `args` is what was sent. */
  declare readonly defaultArgs?: { readonly [Name in keyof Args]?: Args[Name] };
  /** What the arguments have to be; `args` is what it makes of them. Zod's, valibot's, arktype's or any other Standard Schema. */
  declare readonly schema?: StandardSchema<unknown, Args>;

  readonly [RUN]: CallRun | undefined = undefined;

  /** Like all that follows it is known during the call, not in the constructor. */
  get args(): Args {
    return runOf(this).args as Args;
  }

  /** The name by which it was called. */
  get callName(): string {
    return runOf(this).callName;
  }

  get server(): MethodServer {
    return runOf(this).server;
  }

  /** Each line names the method. */
  get log(): Log {
    return runOf(this).log;
  }

  /** Fires when the server closes and waits no longer. */
  get signal(): AbortSignal {
    return runOf(this).signal;
  }

  /** Whether the call has failed, as far as it has come: refused, `fail`ed, or thrown. */
  get hasError(): boolean {
    const { answer } = runOf(this);
    return answer !== undefined && answer.code !== SUCCESS;
  }

  /** Whether `succeed` was said, or `execute` has ended without a word; and no error after it. */
  get isSuccess(): boolean {
    return runOf(this).answer?.code === SUCCESS;
  }

  /** Called first: false, a throw or `fail` refuses the call, and `execute` is not called. */
  prepare?(): Promise<boolean | void> | boolean | void;

  /** Does what the method is for, and says `succeed` or `fail`. Ending without either is a success without a result. */
  abstract execute(): Promise<void> | void;

  /** Called last, whatever came before it, also when the arguments did not fit. When it throws, the call has failed. */
  finish?(): Promise<void> | void;

  /** Answers with code 0. The last word counts. @param result anything that JSON can hold. */
  succeed(message = '', result: unknown = null): void {
    runOf(this).answer = { code: SUCCESS, message, result };
  }

  /**
   * Answers with an error. The last word counts.
   * Errors: INVALID_ARGUMENT: `code` is no whole number, or 0, which means success.
   * @param code of the method's own, from 100 on: those below are the server's.
   */
  fail(code: number, message = '', result: unknown = null): void {
    if (!Number.isSafeInteger(code) || code === SUCCESS)
      throw new QueueError(
        'INVALID_ARGUMENT',
        `fail: expected a code, a whole number other than 0, received ${quote(code)}`,
      );
    runOf(this).answer = { code, message, result };
  }
}

/** Where a server listens: the address, not the name, of its host, and the port that it got. */
export interface CallAddress {
  readonly scheme: 'tcp' | 'udp';
  readonly host: string;
  readonly port: number;
}

/** A `CallServer`, as its methods see it. */
export interface MethodServer {
  readonly address: CallAddress | undefined;
  readonly methods: readonly string[];
  addMethod(name: string, method: CallMethodClass): void;
  close(options?: { signal?: AbortSignal | undefined }): Promise<void>;
}

/** What `addMethod` takes. */
export type CallMethodClass = new () => CallMethod<object>;

/** What stands behind an instance during its call. */
export interface CallRun {
  readonly server: MethodServer;
  readonly callName: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  args: object;
  /** What was said last. */
  answer: { readonly code: number; readonly message: unknown; readonly result: unknown } | undefined;
}

/** Says no, as the server does. */
export function refuse(method: CallMethod<object>, ...[word, message]: Parameters<typeof refusal>): void {
  runOf(method).answer = refusal(word, message);
}

/** Whether it is a class that extends `CallMethod`, of whichever copy of this package. */
export function isCallMethodClass(value: unknown): value is CallMethodClass {
  if (typeof value !== 'function') return false;
  const { prototype } = value as { prototype?: Partial<CallMethod> };
  return typeof prototype?.execute === 'function' && typeof prototype.succeed === 'function';
}

export function bind(method: CallMethod<object>, run: CallRun): void {
  (method as { [RUN]: CallRun })[RUN] = run;
}

function runOf(method: { readonly [RUN]: CallRun | undefined }): CallRun {
  const run = method[RUN];
  if (run) return run;
  throw new QueueError(
    'METHOD_FAILED',
    'args, server and log are known during the call, not in the constructor',
  );
}
