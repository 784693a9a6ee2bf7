/**
 * A route: method, path, what it takes and what it answers. The one description of each: requests are checked by it, and
 * the OpenAPI document is made of it.
 */
import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Config } from '../config.ts';
import { escapeControls, quote } from '../errors.ts';
import type { QueueManager } from '../queue-manager.ts';
import type { SupervisorControl } from '../supervisor/shape.ts';
import type { Log } from '../worker/log.ts';
import type { Caller } from './admission.ts';
import { Refusal } from './refusal.ts';

/** What routes work with. */
export interface Context {
  readonly control: SupervisorControl;
  readonly queues: QueueManager;
  /** That holds now: it may be another one in the next request. */
  readonly config: Config;
  readonly log: Log;
}

/** What a request holds, as it came. */
interface Given {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  /** Undefined: it has none. */
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly caller: Caller;
  /** Fires when the client has gone. */
  readonly signal: AbortSignal;
}

export interface Reply {
  readonly status: number;
  /** JSON; else `text`, or `stream`, which writes the rest of the answer itself. Nothing at all with 204. */
  readonly json?: unknown;
  readonly text?: string;
  readonly stream?: (response: ServerResponse) => void;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface AnswerShape {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** Default: application/json. */
  readonly type?: string;
}

interface Parts<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  readonly method: 'get' | 'post' | 'delete';
  /** As OpenAPI has it: `/api/queues/{queue}`. */
  readonly path: string;
  readonly summary: string;
  readonly params: P;
  readonly query: Q;
  /** Of GET none. An empty body counts as `{}`. */
  readonly body: B;
  /** By status; what every route may answer besides is not among them. */
  readonly answers: Readonly<Record<number, AnswerShape>>;
}

export type Route = Parts<z.ZodType, z.ZodType, z.ZodType> & {
  /** Checks what is given, and does what it asks for. Errors: `Refusal`, `QueueError`. */
  run(context: Context, given: Given): Promise<Reply>;
};

type Checked<P, Q, B> = Pick<Given, 'caller' | 'signal' | 'headers'> & { params: P; query: Q; body: B };

const NONE = z.strictObject({});
type None = typeof NONE;

/** A route of parts that know each other's types. */
export function route<P extends z.ZodType = None, Q extends z.ZodType = None, B extends z.ZodType = None>(
  parts: Pick<Parts<P, Q, B>, 'method' | 'path' | 'summary' | 'answers'> & {
    params?: P;
    query?: Q;
    body?: B;
  },
  handle: (
    context: Context,
    checked: Checked<z.output<P>, z.output<Q>, z.output<B>>,
  ) => Promise<Reply> | Reply,
): Route {
  const { params = NONE, query = NONE, body = NONE, ...others } = parts;
  return {
    ...others,
    params,
    query,
    body,
    run: async (context, given) =>
      handle(context, {
        caller: given.caller,
        signal: given.signal,
        headers: given.headers,
        params: check('the path', params, given.params) as z.output<P>,
        query: check('the query', query, given.query) as z.output<Q>,
        body: check('the body', body, given.body ?? {}) as z.output<B>,
      }),
  };
}

/** The first of what is wrong, for a person; which is enough to mend it. */
function check(where: string, schema: z.ZodType, value: unknown): unknown {
  // Schemas would drop it without a word.
  if (typeof value === 'object' && value !== null && Object.hasOwn(value, '__proto__'))
    throw new Refusal(422, 'INVALID_REQUEST', `${where}: unknown key "__proto__"`);
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const [issue] = error.issues;
  const at = issue && issue.path.length > 0 ? `, ${quote(issue.path.map(String).join('.'))}` : '';
  throw new Refusal(
    422,
    'INVALID_REQUEST',
    `${where}${at}: ${escapeControls(issue?.message ?? 'invalid').slice(0, 300)}`,
  );
}
