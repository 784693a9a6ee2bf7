/** The options of `QueueManager.open`, and the configuration they make together with its other sources. */
import { devNull } from 'node:os';
import type { Backend, Durability } from './backend.ts';
import { loadConfig } from './config.ts';
import type { Config } from './config.ts';
import { QueueError, quote } from './errors.ts';
import type { AnyJobs, SchemasOf } from './job-map.ts';
import { nearest } from './suggest.ts';

/** Each overrides the environment, which overrides config.ini. Durations are ms or text (`30s`), sizes bytes or text (`16MiB`). */
export interface OpenOptions<Jobs extends object = AnyJobs> {
  /** The configuration file; else CODA_CONFIG, else ./config.ini when there is one. */
  config?: string | undefined;
  /** `cache` (files, the default) or `memory` (for tests: gone with the manager). */
  queueType?: string | undefined;
  /** The folder that holds the queues; relative to the working directory. */
  cacheRoot?: string | undefined;
  /** What an answer promises; see docs/guarantees.md. */
  durability?: Durability | undefined;
  syncInterval?: number | string | undefined;
  maxMessageBytes?: number | string | undefined;
  fileMode?: number | string | undefined;
  keepOutcomes?: number | undefined;
  /** How long a claim lasts unless it says otherwise. */
  lease?: number | string | undefined;
  /** The wait after a first failed try, doubled with each further one … */
  backoff?: number | string | undefined;
  /** … up to this. */
  backoffMax?: number | string | undefined;
  crashLimit?: number | undefined;
  /** Instead of a queueType: one that is open already, such as `openMemory({ now })` in a test. The manager closes it. */
  backend?: Backend | undefined;
  /**
   * Standard Schemas (zod, valibot, arktype, …) of payloads, by queue: what does not fit is not added. Without a job map
   * in types, they are one: the data of each queue has the type that its schema takes.
   */
  schemas?: SchemasOf<Jobs> | undefined;
}

/** What is no flag of the configuration. */
const OBJECTS = ['backend', 'schemas'] as const;
type Flag = Exclude<keyof OpenOptions, 'config' | (typeof OBJECTS)[number]>;
const FLAGS: readonly Flag[] = [
  'queueType',
  'cacheRoot',
  'durability',
  'syncInterval',
  'maxMessageBytes',
  'fileMode',
  'keepOutcomes',
  'lease',
  'backoff',
  'backoffMax',
  'crashLimit',
];

/** The configuration under these options. Errors: CONFIG_INVALID. */
export async function readOptions(options: Omit<OpenOptions, 'schemas'>): Promise<Config> {
  const { config, ...others } = options;
  if (config !== undefined && typeof config !== 'string') {
    throw new QueueError(
      'CONFIG_INVALID',
      `option config: expected the path of a file, received ${quote(config)}`,
    );
  }
  const flags: { [F in Flag]?: string | number | undefined } = {};
  for (const [name, value] of Object.entries(others)) {
    if (FLAGS.includes(name as Flag)) flags[name as Flag] = value as string | number | undefined;
    else if (!OBJECTS.some((known) => known === name)) throw unknownOption(name);
  }
  return loadConfig({ config, flags });
}

/** What has a manager go by exactly `config`, whatever its file says by now, or where that was a pipe, which can be read but once. */
export function openOptionsOf({ queue, worker }: Config): OpenOptions {
  const { lease, backoff, backoffMax, crashLimit } = worker;
  return { config: devNull, ...queue, lease, backoff, backoffMax, crashLimit };
}

function unknownOption(name: string): QueueError {
  const names = ['config', ...FLAGS, ...OBJECTS];
  const near = nearest(name, names);
  const hint = near === undefined ? `expected one of ${names.join(', ')}` : `did you mean ${near}?`;
  return new QueueError('CONFIG_INVALID', `unknown option ${quote(name)}; ${hint}`);
}
