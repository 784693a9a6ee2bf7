/**
 * Which processes a changed configuration concerns: those, and no others, are touched by a reload. Pure.
 *
 * What a child does follows from its spec and from the sections of the configuration that its kind reads. What only the
 * supervisor acts on (how many there are, what follows a failure, …) is put in force without a restart.
 */
import type { Config } from '../config.ts';
import { SECTIONS } from '../config-keys.ts';
import type { ProcessKind, ProcessSpec } from './shape.ts';

export interface Changes {
  readonly added: readonly ProcessSpec[];
  /** Names. */
  readonly removed: readonly string[];
  /** Their children run what is no longer wanted: they are started anew, one after the other. */
  readonly restarted: readonly ProcessSpec[];
  /** Only what the supervisor acts on differs: their children go on. */
  readonly adjusted: readonly ProcessSpec[];
}

/** What is wanted, and under which configuration. */
export interface Wanted {
  readonly specs: readonly ProcessSpec[];
  readonly config: Config;
}

/** What leads from one to the other, in the order in which they are named. Names are unique in each. */
export function changesBetween(before: Wanted, after: Wanted): Changes {
  const old = new Map(before.specs.map((spec) => [spec.name, spec]));
  const names = new Set(after.specs.map(({ name }) => name));
  const added: ProcessSpec[] = [];
  const restarted: ProcessSpec[] = [];
  const adjusted: ProcessSpec[] = [];
  for (const spec of after.specs) {
    const was = old.get(spec.name);
    if (!was) added.push(spec);
    else if (!runsTheSame(was, before.config, spec, after.config)) restarted.push(spec);
    else if (canonical(was) !== canonical(spec)) adjusted.push(spec);
  }
  const removed = before.specs.map(({ name }) => name).filter((name) => !names.has(name));
  return { added, removed, restarted, adjusted };
}

/** Whether a child that was started for the one would do for the other. */
function runsTheSame(was: ProcessSpec, before: Config, is: ProcessSpec, after: Config): boolean {
  return canonical(runOf(was, before)) === canonical(runOf(is, after));
}

/** All that a child of it gets to know. */
function runOf(spec: ProcessSpec, config: Config): unknown {
  const { kind, target, args, params, queue, concurrency, stopDeadline } = spec;
  const sections = SECTIONS_READ[kind].map((section) => config[section]);
  // A program is not told of it: it is the supervisor that counts.
  const deadline = kind === 'exec' ? 0 : stopDeadline;
  return [kind, target, args, params, queue, concurrency, deadline, sections];
}

type Section = Exclude<keyof Config, 'file' | 'processes'>;

const OF_A_QUEUE: readonly Section[] = ['queue', 'worker', 'http', 'log'];

/** A program is not told of any; it finds them in its environment, as its own affair. */
const SECTIONS_READ: Readonly<Record<ProcessKind, readonly Section[]>> = {
  class: OF_A_QUEUE,
  worker: OF_A_QUEUE,
  daemon: (Object.keys(SECTIONS) as Section[]).filter((name) => name !== 'supervisor' && name !== 'api'),
  exec: [],
};

/** The same text for the same value, whatever the order of its keys. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
