/** What child processes do: the exported functions of these modules. Each is imported only by a child that needs it. */
import type * as adding from './adding.ts';
import type * as draining from './draining.ts';
import type * as growing from './growing.ts';
import type * as lasting from './lasting.ts';
import type * as limits from './limits.ts';
import type { Parent } from './parent.ts';

interface Modules {
  adding: typeof adding;
  draining: typeof draining;
  growing: typeof growing;
  lasting: typeof lasting;
  limits: typeof limits;
}

export type ModuleName = keyof Modules;

/** The functions of a module that can be the work of a child: they take an object, and perhaps the parent. */
export type RoleName<M extends ModuleName> = {
  [R in keyof Modules[M]]: Modules[M][R] extends (params: infer P, parent: Parent) => unknown
    ? P extends object
      ? R
      : never
    : never;
}[keyof Modules[M]] &
  string;

type Role<M extends ModuleName, R extends RoleName<M>> = Modules[M][R] extends (...given: never[]) => unknown
  ? Modules[M][R]
  : never;
export type Params<M extends ModuleName, R extends RoleName<M>> = Parameters<Role<M, R>>[0];
export type Result<M extends ModuleName, R extends RoleName<M>> = Awaited<ReturnType<Role<M, R>>>;

/** What a child is started with, as JSON. */
export interface Job {
  module: ModuleName;
  role: string;
  params: unknown;
}

export const MODULES: { [M in ModuleName]: () => Promise<Modules[M]> } = {
  adding: () => import('./adding.ts'),
  draining: () => import('./draining.ts'),
  growing: () => import('./growing.ts'),
  lasting: () => import('./lasting.ts'),
  limits: () => import('./limits.ts'),
};
