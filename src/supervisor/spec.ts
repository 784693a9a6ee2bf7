/**
 * What a process may be: one table of keys for the sections `[process:NAME]` of config.ini and for objects from code or from
 * the control API. Whatever comes in leaves as a frozen `ProcessSpec`, which everything else trusts.
 */
import { dirname, resolve } from 'node:path';
import type { Config } from '../config.ts';
import { SECTIONS } from '../config-keys.ts';
import type { ProcessSection } from '../config-processes.ts';
import { DAEMON_NAME } from '../daemon/name.ts';
import { QueueError, quote } from '../errors.ts';
import type { FailureAction, FailureActions } from '../failure-actions.ts';
import type { Json } from '../message.ts';
import { encodePayload } from '../payload.ts';
import { nearest } from '../suggest.ts';
import { plainWordsOf } from '../worker/exec/words.ts';
import type { Autoscale, ProcessKind, ProcessSpec, Recovery } from './shape.ts';
import { KEYS, PROCESS_KEYS, type Given, type Keys, type Range, type Reader } from './spec-keys.ts';

export { MOST_INSTANCES, PROCESS_KEYS } from './spec-keys.ts';

/**
 * A process as programs hand it in. Exactly one of `class`, `daemon`, `worker` and `exec`; durations and sizes are numbers of
 * milliseconds and bytes, or text with a unit, as in config.ini. What is undefined counts as not given.
 */
export interface ProcessInput {
  /** 1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'. */
  name: string;
  /** Path of a module that default-exports a class that extends `ManagedProcess`. */
  class?: string | undefined;
  /** Name of a daemon, such as `queue-daemon run` takes. */
  daemon?: string | undefined;
  /** Type of a worker, such as `queue-worker` takes. */
  worker?: string | undefined;
  /** A command, split as a shell does it, without a shell; or its words. */
  exec?: string | readonly string[] | undefined;
  /** With `class` only. */
  params?: Readonly<Record<string, Json>> | undefined;
  /** A number, or with `worker` also least and most: `1-8`. Default 1. */
  instances?: number | string | undefined;
  /** With instances from least to most: messages waiting for each child above which one more is started. Default 100. */
  scaleBacklog?: number | string | undefined;
  /** Likewise: how long the oldest message may wait. Default 1m. */
  scaleAge?: number | string | undefined;
  /** With `worker` only. Default: its type. */
  queue?: string | undefined;
  /** With `worker` only: messages at once in each child. Default: [worker] concurrency. */
  concurrency?: number | string | undefined;
  /** Default true. */
  autostart?: boolean | string | undefined;
  /** From the wish to stop a child until it is killed. Default: [worker] stopDeadline. */
  stopDeadline?: number | string | undefined;
  /** Resident memory beyond which a child is started anew; 0, the default: as much as it likes. */
  memoryLimit?: number | string | undefined;
  /** As [daemon] onFailure, which is the default, but without reboot. */
  onFailure?: string | undefined;
  /** The default of these four is in [supervisor]. */
  restartDelay?: number | string | undefined;
  restartDelayMax?: number | string | undefined;
  restartReset?: number | string | undefined;
  restartLimit?: number | string | undefined;
}

/** Bytes of a process's params, as JSON. */
const LARGEST_PARAMS = 64 * 1024;
const PARAM = /^(?!__proto__$)[A-Za-z_][A-Za-z0-9_.-]{0,63}$/;
const KINDS: readonly ProcessKind[] = ['class', 'daemon', 'worker', 'exec'];
/** Would look after itself. */
const SUPERVISOR = 'supervisor';
/** Of a worker that scales. */
const USUAL_BACKLOG = 100;
const USUAL_AGE = 60_000;

/**
 * The process of a section of config.ini; paths count from the file's folder. What it does not say is as `config` says.
 * Errors: CONFIG_INVALID, naming the file, the section and the key, what was expected and what was there.
 */
function parseProcess(section: ProcessSection, config: Config): ProcessSpec {
  const { name, file, entries } = section;
  const where = new Where(`${quote(file, 300)}, [process:${quote(name).slice(1, -1)}]`, file);
  const plain: Record<string, unknown> = {};
  const params: [string, string][] = [];
  for (const [key, value] of Object.entries(entries)) {
    if (key.startsWith('params.')) params.push([key.slice('params.'.length), value]);
    else if (key === 'name' || key === 'params') throw where.unknown(key);
    else plain[key] = value;
  }
  if (params.length > 0) plain['params'] = Object.fromEntries(params);
  return specOf({ name, ...plain }, dirname(file), config, where);
}

/** All processes that the configuration names. Errors: as of `parseProcess`. */
export function configuredProcesses(config: Config): ProcessSpec[] {
  return config.processes.map((section) => parseProcess(section, config));
}

/**
 * The process that an object describes, which may be anything at all; as a `ProcessInput` says.
 * Errors: CONFIG_INVALID, naming the process and the key.
 * @param folder what relative paths count from.
 */
export function checkProcess(
  input: unknown,
  { config, folder }: { config: Config; folder: string },
): ProcessSpec {
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw new QueueError('CONFIG_INVALID', `expected a process { name, … }, received ${quote(input)}`);
  const { name } = input as { name?: unknown };
  const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
  return specOf(given, folder, config, new Where(`process ${quote(name)}`));
}

/** What makes `checkProcess` give the same process again, whatever the configuration says by then. */
export function inputOf(spec: ProcessSpec): ProcessInput {
  const { kind, target, args, params, autoscale, recovery } = spec;
  return {
    name: spec.name,
    [kind]: kind === 'exec' ? [target, ...args] : target,
    ...(Object.keys(params).length > 0 && { params }),
    instances: autoscale ? `${autoscale.min}-${autoscale.max}` : spec.instances,
    ...(autoscale && { scaleBacklog: autoscale.backlog, scaleAge: autoscale.age }),
    ...(spec.queue !== undefined && { queue: spec.queue }),
    ...(spec.concurrency !== undefined && { concurrency: spec.concurrency }),
    autostart: spec.autostart,
    stopDeadline: spec.stopDeadline,
    memoryLimit: spec.memoryLimit ?? 0,
    onFailure: recovery.onFailure.map(actionInWords).join(', '),
    restartDelay: recovery.delay,
    restartDelayMax: recovery.delayMax,
    restartReset: recovery.resetPeriod,
    restartLimit: recovery.limit,
  };
}

function specOf(input: Record<string, unknown>, folder: string, config: Config, where: Where): ProcessSpec {
  const { name, params, ...others } = input;
  if (typeof name !== 'string' || !DAEMON_NAME.test(name))
    throw where.invalid('name', "1 to 64 letters, digits, '.', '_' or '-', no leading '.'", name);
  const given = read(others, folder, where);
  const kinds = KINDS.filter((kind) => given[kind] !== undefined);
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    const received = kinds.length === 0 ? 'none of them' : kinds.join(' and ');
    throw where.error(`expected one of class, daemon, worker and exec, received ${received}`);
  }
  refuseStrangers(kind, { ...given, params }, where);
  const range = given.instances ?? { least: 1, most: 1 };
  if (kind === 'daemon' && range.most > 1)
    throw where.invalid('instances', '0 or 1, for one process at most runs a daemon', range.most);
  return Object.freeze({
    name,
    ...targetOf(kind, given, others['exec'], folder, where),
    params: paramsOf(params, where),
    instances: range.least,
    autoscale: range.least < range.most ? autoscaleOf(range, given) : undefined,
    queue: kind === 'worker' ? (given.queue ?? given.worker) : undefined,
    concurrency: given.concurrency,
    autostart: given.autostart ?? true,
    stopDeadline: given.stopDeadline ?? config.worker.stopDeadline,
    memoryLimit: given.memoryLimit === 0 ? undefined : given.memoryLimit,
    recovery: recoveryOf(given, config, where),
  });
}

/** The values of the known keys. */
function read(input: Record<string, unknown>, folder: string, where: Where): Given {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(input)) {
    if (!Object.hasOwn(KEYS, name)) throw where.unknown(name);
    const key: Reader<unknown> = KEYS[name as keyof Keys];
    // Words of a command, which `targetOf` looks at.
    if (name === 'exec' && Array.isArray(value)) values[name] = '';
    else {
      const text = typeof value === 'boolean' ? String(value) : value;
      const known = typeof text === 'string' || typeof text === 'number';
      const read = known ? key.parse(text, folder) : undefined;
      if (read === undefined) throw where.invalid(name, key.expected, value);
      values[name] = read;
    }
  }
  return values;
}

/** Keys that mean nothing for such a process: one who gives them expects something of them. */
function refuseStrangers(kind: ProcessKind, given: Given & { params: unknown }, where: Where): void {
  const refuse = (key: keyof typeof given, expected: string): void => {
    if (given[key] !== undefined) throw where.error(`${key}: expected ${expected}, received it`);
  };
  if (kind !== 'class') refuse('params', 'only with class');
  for (const key of ['queue', 'concurrency'] as const) if (kind !== 'worker') refuse(key, 'only with worker');
  const { least, most } = given.instances ?? { least: 1, most: 1 };
  if (least === most)
    for (const key of ['scaleBacklog', 'scaleAge'] as const)
      refuse(key, 'only with instances from least to most, such as 1-8');
  else if (kind !== 'worker')
    throw where.invalid('instances', 'one number, where it is no worker', `${least}-${most}`);
}

function targetOf(
  kind: ProcessKind,
  given: Given,
  exec: unknown,
  folder: string,
  where: Where,
): Pick<ProcessSpec, 'kind' | 'target' | 'args'> {
  if (kind === 'exec') {
    const [program, ...args] = wordsOf(exec, where);
    // As in a shell: a name is looked for in PATH, anything with a slash is a path.
    const target = /[\\/]/.test(program) ? resolve(folder, program) : program;
    return { kind, target, args: Object.freeze(args) };
  }
  const target = given[kind] ?? '';
  if (kind === 'daemon' && target === SUPERVISOR)
    throw where.error('daemon: expected another one than the supervisor itself, received it');
  return { kind, target, args: Object.freeze([]) };
}

function wordsOf(exec: unknown, where: Where): [string, ...string[]] {
  if (typeof exec === 'string') {
    try {
      return plainWordsOf(exec);
    } catch (error) {
      throw where.error(`exec: ${(error as Error).message}${where.hint}`);
    }
  }
  const words: unknown[] = Array.isArray(exec) ? exec : [];
  const sound = words.every((word) => typeof word === 'string' && !word.includes('\0'));
  const [program = '', ...args] = sound ? (words as string[]) : [];
  if (program === '') throw where.invalid('exec', 'a command, or its words without NUL characters', exec);
  return [program, ...args];
}

/** A copy, so that nobody changes it later. */
function paramsOf(params: unknown, where: Where): ProcessSpec['params'] {
  if (params === undefined) return Object.freeze({});
  if (typeof params !== 'object' || params === null || Array.isArray(params))
    throw where.invalid('params', 'an object', params);
  let json: string;
  try {
    json = encodePayload(params, 'params', LARGEST_PARAMS);
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    throw where.error(error.message);
  }
  const copy = JSON.parse(json) as Record<string, Json>;
  for (const key of Object.keys(copy))
    if (!PARAM.test(key))
      throw where.invalid('params', "names of 1 to 64 letters, digits, '_', '.' or '-', no digit first", key);
  return Object.freeze(copy);
}

function autoscaleOf({ least, most }: Range, given: Given): Autoscale {
  return Object.freeze({
    min: least,
    max: most,
    backlog: given.scaleBacklog ?? USUAL_BACKLOG,
    age: given.scaleAge ?? USUAL_AGE,
  });
}

function recoveryOf(given: Given, { daemon, supervisor }: Config, where: Where): Recovery {
  if (given.onFailure?.some(({ kind }) => kind === 'reboot'))
    throw where.error('onFailure: expected none, restart and run, received reboot, which is for services');
  const recovery = {
    onFailure: given.onFailure ?? withoutReboot(daemon.onFailure),
    delay: given.restartDelay ?? supervisor.restartDelay,
    delayMax: given.restartDelayMax ?? supervisor.restartDelayMax,
    resetPeriod: given.restartReset ?? supervisor.restartReset,
    limit: given.restartLimit ?? supervisor.restartLimit,
  };
  if (recovery.delayMax < recovery.delay) {
    const least = `at least restartDelay (${recovery.delay} ms)`;
    throw where.error(`restartDelayMax: expected ${least}, received ${recovery.delayMax} ms`);
  }
  return Object.freeze(recovery);
}

/** One child is no reason to start the machine anew, even where a service is. */
function withoutReboot(actions: FailureActions): FailureActions {
  const none = (action: FailureAction): FailureAction =>
    action.kind === 'reboot' ? { kind: 'none' } : action;
  return Object.freeze([none(actions[0]), none(actions[1]), none(actions[2])] as const);
}

function actionInWords(action: FailureAction): string {
  return action.kind === 'run'
    ? ['run', ...action.command.map((part) => `"${part}"`)].join(' ')
    : action.kind;
}

/** Where something is wrong. */
class Where {
  readonly #place: string;
  readonly #details: { path?: string };

  constructor(place: string, path?: string) {
    this.#place = place;
    this.#details = path === undefined ? {} : { path };
  }

  /** What has often gone wrong with a command in a file. */
  get hint(): string {
    const isFile = this.#details.path !== undefined;
    return isFile ? '; a ; or # begins a comment, unless single quotes stand around the whole value' : '';
  }

  error(message: string): QueueError {
    return new QueueError('CONFIG_INVALID', `${this.#place}: ${message}`, this.#details);
  }

  invalid(key: string, expected: string, received: unknown): QueueError {
    return this.error(`${key}: expected ${expected}, received ${quote(received)}`);
  }

  unknown(key: string): QueueError {
    const known = [...PROCESS_KEYS, 'params.…'];
    const near = nearest(key, known);
    const home = Object.entries(SECTIONS).find(([, keys]) => Object.hasOwn(keys, key))?.[0];
    if (near === undefined && home !== undefined)
      return this.error(`key ${quote(key)} belongs to section [${home}]`);
    const hint = near === undefined ? `expected one of ${known.join(', ')}` : `did you mean ${near}?`;
    return this.error(`unknown key ${quote(key)}; ${hint}`);
  }
}
