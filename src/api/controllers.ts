/**
 * Actions of the user's own: a class with methods `action<Name>` in a file `<name>Controller.ts`, `.js` or `.mjs` of the folder
 * of controllers. `actionSendReport` of `mailsController.ts` appears as /api/mails/send-report, `actionIndex` as
 * /api/mails. They can hide nothing of ours, and one that cannot be loaded hides no other.
 */
import { z } from 'zod';
import { QueueError, quote } from '../errors.ts';
import { unless } from '../daemon/unless.ts';
import type { Json } from '../message.ts';
import { toTryError } from '../try-error.ts';
import { findAll, importDefault, type Kind } from '../worker/class-loader.ts';
import type { Log } from '../worker/log.ts';
import type { ActionContext } from './action.ts';
import { Refusal } from './refusal.ts';
import { route, type Context, type Reply, type Route } from './route.ts';

/** Milliseconds. */
const LONGEST_ACTION = 60_000;
/** The name is part of a path. */
const NAME = /^[a-z][a-z0-9-]{0,63}$/;
const ACTION = /^action([A-Z][A-Za-z0-9]{0,63})$/;

const KIND: Kind = {
  noun: 'controller',
  called: 'named',
  suffix: 'Controller',
  pattern: NAME,
  base: 'Object',
  method: 'action<Name>(context)',
  code: 'CONFIG_INVALID',
};

interface Options {
  readonly controllersDir: string;
  readonly library: object;
  /** First parts of paths below /api/ that are ours. */
  readonly taken: ReadonlySet<string>;
  readonly log: Log;
}

/** Resolves with the routes of all controllers. What is wrong with one is logged. */
export async function loadControllers({ controllersDir, library, taken, log }: Options): Promise<Route[]> {
  const routes: Route[] = [];
  const found = await findAll(KIND, { own: controllersDir, shipped: controllersDir }).catch(
    (error: Error) => {
      log.error(`no controllers: ${error.message}`);
      return [];
    },
  );
  for (const { name, path } of found) {
    try {
      if (taken.has(name)) throw new QueueError('CONFIG_INVALID', `/api/${name} is taken`);
      routes.push(...routesOf(name, await instanceOf(path, library)));
    } catch (error) {
      const { message, stack } = toTryError(error, 1, Date.now());
      log.error(`controller ${name} is left out: ${quote(path, 300)}: ${message}`, { stack });
    }
  }
  return routes;
}

type Controller = Readonly<Record<string, (context: ActionContext) => unknown>>;

async function instanceOf(path: string, library: object): Promise<Controller> {
  const exported = await importDefault(path, library);
  if (typeof exported !== 'function')
    throw new QueueError(
      'CONFIG_INVALID',
      'expected its default export to be a class with methods action<Name>',
    );
  return new (exported as new () => Controller)();
}

function routesOf(name: string, controller: Controller): Route[] {
  const methods = methodsOf(controller);
  if (methods.length === 0)
    throw new QueueError('CONFIG_INVALID', 'expected methods action<Name>, found none');
  return methods.flatMap((method) => {
    const action = kebab(ACTION.exec(method)?.[1] ?? '');
    const path = action === 'index' ? `/api/${name}` : `/api/${name}/${action}`;
    return (['get', 'post'] as const).map((verb) => routeOf(controller, method, path, verb));
  });
}

function routeOf(controller: Controller, method: string, path: string, verb: 'get' | 'post'): Route {
  return route(
    {
      method: verb,
      path,
      summary: `${method} of a controller of your own`,
      query: z.record(z.string(), z.string()),
      ...(verb === 'post' && { body: z.unknown() }),
      answers: {
        200: { description: 'what the action has returned', schema: z.unknown() },
        204: { description: 'it has returned nothing' },
      },
    },
    async (context, { query, body, caller, signal }) => {
      // What an action does only its author knows.
      if (caller.right === 'read')
        throw new Refusal(403, 'FORBIDDEN', 'actions of controllers take the token that may change things');
      const given = { method: verb === 'get' ? 'GET' : 'POST', query, body: body as Json } as const;
      if (verb === 'post') context.log.info('action of a controller', { path, by: caller.by });
      return call(controller, method, context, given, signal);
    },
  );
}

async function call(
  controller: Controller,
  method: string,
  { control, queues, log }: Context,
  given: Pick<ActionContext, 'method' | 'query' | 'body'>,
  gone: AbortSignal,
): Promise<Reply> {
  const signal = AbortSignal.any([gone, AbortSignal.timeout(LONGEST_ACTION)]);
  const acted = Promise.resolve().then(() =>
    controller[method]?.({ control, queues, log, signal, ...given }),
  );
  const result = await unless(signal, acted);
  if (result === undefined && signal.aborted)
    throw new Refusal(504, 'TOO_SLOW', `the action has not ended within ${LONGEST_ACTION} ms`);
  return result === undefined ? { status: 204 } : { status: 200, json: result };
}

/** Those of its class and of the classes that this extends. */
function methodsOf(controller: object): string[] {
  const names = new Set<string>();
  for (let at: unknown = controller; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at))
      if (ACTION.test(name) && typeof (controller as Controller)[name] === 'function') names.add(name);
  }
  return [...names].sort();
}

/** `send-report` of `SendReport`. */
function kebab(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1-$2')
    .toLowerCase();
}
