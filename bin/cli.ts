/** What the commands share: how a command line is read, a manager opened, and an error told. */
import { lstatSync } from 'node:fs';
import { createRequire } from 'node:module';
import { CommanderError, InvalidArgumentError, Option, type Command } from 'commander';
import type { Durability } from '../src/backend.ts';
import { loadConfig, type Config } from '../src/config.ts';
import { QueueError, escapeControls, quote } from '../src/errors.ts';
import { openOptionsOf } from '../src/manager-options.ts';
import { QueueManager } from '../src/queue-manager.ts';
import { COMPLETE, complete } from './complete.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { HELP, helpOutput } from './help.ts';
import { note, safe, styled } from './output.ts';

/** What every command takes. */
export interface CommonOptions {
  config?: string;
  cacheRoot?: string;
  durability?: Durability;
}

/** Declares them, and how help and errors look; subcommands that are added afterwards inherit both. */
export function commonOptions(program: Command): Command {
  return program
    .option('--config <file>', 'configuration to read instead of ./config.ini', path)
    .option('--cache-root <dir>', 'folder of the queues', path)
    .addOption(
      new Option('--durability <name>', 'what an answer promises').choices(['always', 'interval', 'os']),
    )
    .version(version())
    .configureHelp(HELP)
    .configureOutput(helpOutput(program.name()))
    .exitOverride();
}

/** Of the package, by its own name: it lies elsewhere beside the sources than beside dist/. */
function version(): string {
  return (createRequire(import.meta.url)('coda-queue/package.json') as { version: string }).version;
}

/** Reads the command line and runs what it asks for; afterwards `process.exitCode` says how that went. */
export async function run(program: Command): Promise<void> {
  if (process.argv[2] === COMPLETE) return complete(program, process.argv.slice(3));
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      // It has printed its message already; code 0 are --help and --version.
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
      return;
    }
    tell(program.name(), error);
    process.exitCode = exitCodeOf(error);
  }
}

/** An error in words, on stderr: a `QueueError` is for the user, anything else a defect with its stack. */
export function tell(program: string, error: unknown): void {
  const start = styled('red', `${program}:`, process.stderr);
  if (error instanceof QueueError) {
    const { message, code, path } = error;
    // "EACCES" alone sends people looking in the wrong folder, and so does a queue that is not there.
    const where = path === undefined || message.includes(path) ? '' : `, ${quote(path, 300)}`;
    note(`${start} ${escapeControls(message)} (${code}${where})`);
  } else
    note(
      `${start} internal error: ${safe(error instanceof Error ? (error.stack ?? error.message) : String(error))}`,
    );
}

/** Reads the configuration, and opens the manager for the time of `use`: see `withQueues`. */
export async function withManager<Result>(
  { config: file, cacheRoot, durability }: CommonOptions,
  use: (manager: QueueManager, config: Config) => Promise<Result>,
  options?: { makes?: boolean },
): Promise<Result> {
  const config = await loadConfig({ config: file, flags: { cacheRoot, durability } });
  return withQueues(config, (manager) => use(manager, config), options);
}

/**
 * Opens the manager for the time of `use`. Where there is no folder of queues, that is said, and an empty store is in its
 * place, which answers as an empty folder would: a `--cache-root` misspelt must leave no folder behind.
 * @param makes whether a queue may be created, and with it the folder.
 */
export async function withQueues<Result>(
  config: Config,
  use: (manager: QueueManager) => Promise<Result>,
  { makes = false }: { makes?: boolean } = {},
): Promise<Result> {
  const options = openOptionsOf(config);
  if (!makes && isRootAbsent(config.queue)) {
    note(`expected the folder of the queues at ${quote(config.queue.cacheRoot, 300)}, found none`);
    options.queueType = 'memory';
  }
  const manager = await QueueManager.open(options);
  try {
    return await use(manager);
  } finally {
    await manager.close();
  }
}

function isRootAbsent({ queueType, cacheRoot }: Config['queue']): boolean {
  if (queueType !== 'cache') return false;
  try {
    return lstatSync(cacheRoot, { throwIfNoEntry: false }) === undefined;
  } catch {
    // Whoever opens it says why it cannot be looked at.
    return false;
  }
}

/** Parses the argument of an option that takes a path: most often, an empty one is a shell variable that is not set. */
export function path(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('Expected a path.');
}

/** Parses the argument of an option that takes a whole number from `least` to `most`. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new InvalidArgumentError(`Expected a whole number ${range}.`);
  };
}
