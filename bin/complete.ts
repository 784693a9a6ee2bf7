/**
 * What may stand next on a command line that is being typed, for the shells' completion. Everything comes from the
 * program's own tree of commands, so it knows what the program knows: verbs, options, choices. Of a value the name tells
 * what it is: `<queue>` and `--queue` queues, `<type>` types of workers, `<daemon>` daemons, `<process>` processes of the supervisor, `<file>` and `<dir>` paths, which
 * shells know best.
 */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Argument, Command, Option } from 'commander';
import { loadConfig, type Config } from '../src/config.ts';
import { openOptionsOf } from '../src/manager-options.ts';
import { QueueManager } from '../src/queue-manager.ts';
import { print, safe } from './output.ts';

/** The first word by which a shell asks; hidden. */
export const COMPLETE = '__complete';

/** Beside this folder in the sources as in dist/. */
const SHIPPED = { workers: shipped('../workers'), daemons: shipped('../daemons') };
const WORKER_FILE = /^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63})\.(ts|js|mjs)$/;
const DAEMON_FILE = /^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63})Daemon\.(ts|js|mjs)$/;

/** A word that may stand there, and what it means; or what the shell has to look for itself. */
type Candidate = { word: string; about?: string } | 'files' | 'folders';

/** Where the words before the last one have led. */
interface Position {
  program: Command;
  command: Command;
  /** Arguments of `command` that stand there already. */
  arguments: number;
  /** The option whose value comes next. */
  option: Option | undefined;
  /** After `--`. */
  onlyArguments: boolean;
  /** Values of the options that decide where queues and workers are. */
  config: string | undefined;
  cacheRoot: string | undefined;
  workersDir: string | undefined;
  daemonsDir: string | undefined;
}

/**
 * Prints a line for each candidate: the word, a tab, what it means; or `:files` or `:folders`. Changes nothing, and says
 * nothing of what goes wrong: a person who is typing has not asked for anything yet.
 * @param words the words after the program's name, up to and with the one that is being typed.
 */
export async function complete(program: Command, words: readonly string[]): Promise<void> {
  const candidates = await candidatesFor(program, words).catch(() => []);
  for (const candidate of candidates) {
    await print(typeof candidate === 'string' ? `:${candidate}` : lineOf(candidate));
  }
}

function lineOf({ word, about = '' }: { word: string; about?: string }): string {
  return `${safe(word)}\t${safe(about).replaceAll('\n', ' ')}`;
}

async function candidatesFor(program: Command, words: readonly string[]): Promise<Candidate[]> {
  const typed = joined(words[0] === '--' ? words.slice(1) : words);
  const last = typed.pop() ?? '';
  const position = walk(program, typed);
  const { command, option, onlyArguments } = position;
  const begins = (part: string, candidates: Candidate[]): Candidate[] =>
    candidates.filter((each) => typeof each === 'string' || each.word.startsWith(part));

  if (option) return begins(last, await valuesOf(option, position));
  if (!onlyArguments && last.startsWith('-')) {
    const sign = last.indexOf('=');
    const named = sign < 0 ? undefined : optionsOf(command).find(({ long }) => long === last.slice(0, sign));
    if (!named) return begins(last, optionsOf(command).map(wordOf));
    const values = await valuesOf(named, position);
    const whole = values.map((each) =>
      typeof each === 'string' ? each : { ...each, word: `${last.slice(0, sign + 1)}${each.word}` },
    );
    return begins(last, whole);
  }
  const verbs = visible(command);
  if (verbs.length > 0 && position.arguments === 0) return begins(last, verbs.map(verbOf));
  const argument =
    command.registeredArguments[position.arguments] ??
    command.registeredArguments.findLast(({ variadic }) => variadic);
  return argument ? begins(last, await valuesOf(argument, position)) : [];
}

/** bash takes `--queue=mails` for three words; here its value stands alone, as bash will have it replaced alone. */
function joined(words: readonly string[]): string[] {
  return words.flatMap((word, index) => {
    if (word !== '=' || words[index - 1]?.startsWith('--') !== true) return [word];
    return index === words.length - 1 ? [''] : [];
  });
}

function walk(program: Command, words: readonly string[]): Position {
  const at: Position = {
    program,
    command: program,
    arguments: 0,
    option: undefined,
    onlyArguments: false,
    config: undefined,
    cacheRoot: undefined,
    workersDir: undefined,
    daemonsDir: undefined,
  };
  for (const word of words) {
    if (at.option) {
      note(at, at.option, word);
      at.option = undefined;
    } else if (word === '--' && !at.onlyArguments) at.onlyArguments = true;
    else if (word.startsWith('-') && !at.onlyArguments) {
      const sign = word.startsWith('--') ? word.indexOf('=') : -1;
      const name = sign < 0 ? word : word.slice(0, sign);
      const option = optionsOf(at.command).find(({ long, short }) => name === long || name === short);
      if (!option?.required) continue;
      if (sign < 0) at.option = option;
      else note(at, option, word.slice(sign + 1));
    } else {
      const verb = at.arguments > 0 ? undefined : visible(at.command).find((each) => each.name() === word);
      if (verb) at.command = verb;
      else at.arguments++;
    }
  }
  return at;
}

function note(at: Position, { long }: Option, value: string): void {
  if (long === '--config') at.config = value;
  else if (long === '--cache-root') at.cacheRoot = value;
  else if (long === '--workers') at.workersDir = value;
  else if (long === '--daemons') at.daemonsDir = value;
}

function visible(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

function optionsOf(command: Command): Option[] {
  const help = command.createHelp();
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
}

function wordOf({ long, short, description }: Option): Candidate {
  return { word: long ?? short ?? '', about: description };
}

function verbOf(command: Command): Candidate {
  return { word: command.name(), about: command.description() };
}

async function valuesOf(value: Option | Argument, at: Position): Promise<Candidate[]> {
  if (value.argChoices) return value.argChoices.map((word) => ({ word }));
  const isOption = 'flags' in value;
  const kind = isOption ? /[<[]([a-z]+)/.exec(value.flags)?.[1] : value.name();
  if (kind === 'queue' || kind === 'queues' || (isOption && value.long === '--queue')) return queues(at);
  if (kind === 'type') return workerTypes(await configOf(at));
  if (kind === 'daemon' || kind === 'daemons') return daemons(await configOf(at));
  if (kind === 'process') return processes(at);
  if (kind === 'file') return ['files'];
  if (kind === 'dir') return ['folders'];
  // Of commander's own `help [command]`.
  if (kind === 'command') return visible(at.program).map(verbOf);
  return [];
}

function configOf({ config, cacheRoot, workersDir, daemonsDir }: Position): Promise<Config> {
  return loadConfig({ config, flags: { cacheRoot, workersDir, daemonsDir } });
}

async function queues(at: Position): Promise<Candidate[]> {
  const config = await configOf(at);
  const { queueType, cacheRoot } = config.queue;
  // Opening it would make it.
  if (queueType === 'cache' && !existsSync(cacheRoot)) return [];
  const manager = await QueueManager.open(openOptionsOf(config));
  try {
    return (await manager.listQueues()).map((word) => ({ word }));
  } finally {
    await manager.close();
  }
}

async function workerTypes({ worker }: Config): Promise<Candidate[]> {
  const types = await namesIn([worker.workersDir, SHIPPED.workers], WORKER_FILE);
  return sorted(types);
}

/** Those that have a file, or have run. Others are registered by code that is not run for a completion. */
async function daemons({ daemon }: Config): Promise<Candidate[]> {
  const { knownNames } = await import('../src/daemon/verify.ts');
  const names = await namesIn([daemon.daemonsDir, SHIPPED.daemons], DAEMON_FILE);
  return sorted([...names, ...knownNames(daemon.stateDir)]);
}

/** Those that run; as long as it takes a person to notice, no longer. */
async function processes(at: Position): Promise<Candidate[]> {
  const { Client } = await import('./queue-daemon/ctl/client.ts');
  const { socketPathOf } = await import('../src/api/address.ts');
  const client = new Client(socketPathOf(await configOf(at)));
  const { processes } = (await client.get('/api/processes', 500)) as { processes: { name: string }[] };
  return sorted(processes.map(({ name }) => name));
}

async function namesIn(folders: readonly string[], file: RegExp): Promise<string[]> {
  const names = await Promise.all(folders.map((folder) => readdir(folder).catch(() => [])));
  return names.flat().flatMap((name) => (name.endsWith('.d.ts') ? [] : (file.exec(name)?.[1] ?? [])));
}

function sorted(words: readonly string[]): Candidate[] {
  return [...new Set(words)].sort().map((word) => ({ word }));
}

function shipped(folder: string): string {
  return fileURLToPath(new URL(folder, import.meta.url));
}
