#!/usr/bin/env node
/**
 * `queue-worker`: processes the messages of one type until it is told to stop, or until there are none left. By itself,
 * or as the parent of processes that run the same command as its members.
 */
import { Command, Option } from 'commander';
import { loadConfig, type Config } from '../src/config.ts';
import { environmentOf } from '../src/config-environment.ts';
import { LEVELS } from '../src/config-keys.ts';
import * as library from '../src/index.ts';
import { crewLog, memberLog, stderrRelay } from '../src/log/crew-events.ts';
import { logEvent } from '../src/log/worker-events.ts';
import type { QueueManager } from '../src/queue-manager.ts';
import { graceOf, runCrew, STOP_MARGIN } from '../src/worker/crew/crew.ts';
import { Member, takeAssignment } from '../src/worker/crew/member.ts';
import { execWorker } from '../src/worker/exec/index.ts';
import { loadWorker, type LoadedWorker } from '../src/worker/loader.ts';
import { checkQueueName } from '../src/validate.ts';
import type { LogSink } from '../src/worker/log.ts';
import { runLoop, type LoopReport } from '../src/worker/loop.ts';
import { commonOptions, path, run, whole, withQueues } from './cli.ts';
import { EXIT, EXIT_HELP } from './exit-codes.ts';
import { flush, note } from './output.ts';
import { lease, MOST_AT_ONCE, processes, someTime, type Options } from './queue-worker/options.ts';
import { tellReport } from './queue-worker/report.ts';
import { memberSignals, stopSignals } from './queue-worker/signals.ts';

const HELP = `
A type is a file <type>.ts, .js or .mjs in the folder of workers; it default-exports a class that extends Worker. With
--exec it is but the name of the queue: the program gets the data as JSON on its stdin; exit code 0 completes the
message, 65 fails it for good, any other is a failed try. {alias}, {uuid}, {queue}, {attempt}, {retries} and {username}
are replaced in its arguments.

SIGTERM, SIGINT and SIGHUP (its terminal was closed) stop it: it claims nothing more, lets its handlers end up to
[worker] stopDeadline, then aborts them and puts their messages back in line, and exits 0. A second SIGTERM or SIGINT
does the latter at once and exits 1; a third one exits 1 without waiting for anything. A handler that blocks its process keeps that from hearing any signal, but for
SIGKILL; with --processes or --timeout the handlers run in processes of their own, and their parent always hears.

With --processes, a process that dies is replaced, and the messages that it had are tried again; one that has been
worked on by [worker] crashLimit processes as they died is kept as failed. Stop the parent; a single process that is
sent SIGTERM stops like a worker, and is replaced. With --timeout, a handler that has not ended in time is told to by
its signal; when it has not ended as long again after that (1 to 5 s), its process is killed and replaced, and the try
has failed.

Examples:
  queue-worker invoices
  queue-worker invoices --workers ./jobs --concurrency 10 --lease 2m
  queue-worker invoices --processes 4 --timeout 1m
  queue-worker thumbnails --exec 'convert-image --name {alias}'
  queue-worker invoices --drain --json`;

// Before anything else can see the environment.
const assignment = takeAssignment(process.env);
/** Of the programs that --exec starts: a member's settings are for itself. */
const env = { ...process.env };
Object.assign(process.env, assignment?.settings);

const program = commonOptions(new Command('queue-worker'))
  .description('Process the messages of one type.')
  .argument('<type>', 'the type of worker, and the queue it works on unless --queue says otherwise')
  .option('--queue <name>', 'the queue to work on; created if it does not exist')
  .option('--workers <dir>', 'folder of worker classes', path)
  .option('--exec <command>', 'start this program for each message, instead of a worker class')
  .option(
    '--concurrency <n>',
    'how many messages each process works on at once; in order at 1',
    whole(1, MOST_AT_ONCE),
  )
  .option('--processes <n>', 'how many processes to keep at work', processes)
  .option('--lease <duration>', 'how long a claim lasts without being renewed, such as 30s', lease)
  .option('--timeout <duration>', 'how long a try may take, such as 5m', someTime)
  .option('--limit <n>', 'end after so many tries', whole(1))
  .addOption(new Option('--log-level <name>', 'the least that is logged').choices(LEVELS))
  .option('--drain', 'end when nothing is ready, nor held by any worker')
  .option('--json', 'print what was done as JSON')
  .addHelpText('after', HELP + '\n' + EXIT_HELP)
  .action(work);
await run(program);
await flush();
// A handler that ignored its signal may still be running, and what a worker left open would keep the process alive.
process.exit();

async function work(type: string, given: Options): Promise<void> {
  const { config: _, ...rest } = given;
  // A member's settings are all of the configuration, whatever the file says by now.
  const options: Options = assignment ? rest : given;
  const { cacheRoot, durability, workers: workersDir, concurrency, lease, logLevel } = options;
  const flags = { cacheRoot, durability, workersDir, concurrency, lease, level: logLevel };
  // Before anything is said of working on it; of a type that is none, the loader has more to say.
  if (options.queue !== undefined || options.exec !== undefined) checkQueueName(options.queue ?? type);
  const config = await loadConfig({ config: options.config, flags });
  // Not before: completion and help need none.
  const { openLog } = await import('../src/log/open.ts');
  // stdout is for the report.
  const streams = { stdout: process.stderr, stderr: process.stderr };
  const { sink, close } = openLog(assignment ? memberLog(config) : config, streams);
  const job: Job = { type, queue: options.queue ?? type, options, config, log: sink };
  try {
    if (assignment) await asMember(job, new Member(assignment, config.worker.stopDeadline + STOP_MARGIN));
    else if (options.processes !== undefined || options.timeout !== undefined) await asParent(job);
    else await alone(job);
  } finally {
    close();
  }
}

interface Job {
  type: string;
  queue: string;
  options: Options;
  config: Config;
  log: LogSink;
}

async function alone({ type, queue, options, config, log }: Job): Promise<void> {
  const { worker, path } = await workerOf(type, options, config);
  const signals = stopSignals(log);
  // Whoever waits for the end of this process must not take that for the end of the work.
  const cutShort = (code: number): void => {
    if (code !== 0) return;
    log('ERROR', 'the worker has ended its process with process.exit(); what it had in hand comes back', {
      queue,
    });
    process.exitCode = EXIT.failure;
  };
  process.once('exit', cutShort);
  await withOwn(config, async (manager) => {
    log('INFO', `working on ${queue}`, { worker: path, concurrency: config.worker.concurrency });
    const report = await runLoop({
      ...config.worker,
      ...signals,
      queues: manager,
      queue,
      worker,
      config,
      drain: options.drain === true,
      limit: options.limit,
      sink: log,
      onEvent: (event) => logEvent(log, queue, event),
    });
    await tellReport(manager, { type, queue, json: options.json === true }, report);
    if (signals.force.aborted) process.exitCode = EXIT.failure;
  });
  process.off('exit', cutShort);
}

async function asParent({ type, queue, options, config, log }: Job): Promise<void> {
  const count = options.processes ?? 1;
  const signals = stopSignals(log);
  await withOwn(config, async (manager) => {
    const { concurrency, stopDeadline, backoff, backoffMax } = config.worker;
    const report = await runCrew({
      command: {
        file: process.execPath,
        args: [...process.execArgv, ...process.argv.slice(1)],
        env: process.env,
      },
      settings: environmentOf(config),
      ...signals,
      queues: manager,
      queue,
      processes: count,
      limit: options.limit,
      timeout: options.timeout,
      stopDeadline,
      backoff: { backoff, backoffMax },
      onEvent: crewLog(log, queue, { processes: count, concurrency }),
      onStderr: stderrRelay(log, note),
    });
    // Where no member came so far as to do it.
    await manager.createQueue(queue);
    await tellReport(manager, { type, queue, json: options.json === true }, report);
    if (signals.force.aborted) process.exitCode = EXIT.failure;
  });
}

/** A worker creates its queue. */
function withOwn<Result>(config: Config, use: (manager: QueueManager) => Promise<Result>): Promise<Result> {
  return withQueues(config, use, { makes: true });
}

/** Prints nothing but its log: the parent has the last word. */
async function asMember({ type, queue, options, config, log }: Job, member: Member): Promise<void> {
  memberSignals(() => member.stop());
  let report: LoopReport | undefined;
  try {
    const { worker } = await workerOf(type, options, config);
    report = await withOwn(config, (manager) =>
      runLoop({
        ...config.worker,
        ...member.signals,
        queues: member.telling(manager, worker),
        queue,
        worker,
        config,
        drain: options.drain === true,
        limit: member.limit,
        timeout: options.timeout,
        sink: log,
        onEvent: (event) => {
          member.heed(event);
          logEvent(log, queue, event);
        },
      }),
    );
  } catch (error) {
    await member.refuse(error);
  }
  if (report) await member.finish(report);
}

async function workerOf(
  type: string,
  { exec, timeout }: Options,
  config: Config,
): Promise<Partial<LoadedWorker> & Pick<LoadedWorker, 'worker'>> {
  if (exec === undefined) return loadWorker(type, { workersDir: config.worker.workersDir, library });
  // What it starts must be gone, and told of, before this process is killed.
  const grace = timeout === undefined ? {} : { grace: Math.min(3000, graceOf(timeout) / 2) };
  return { worker: execWorker(exec, { ...grace, env }) };
}
