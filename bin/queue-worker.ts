#!/usr/bin/env node
/** `queue-worker`: processes the messages of one type until it is told to stop, or until there are none left. */
import { Command } from 'commander';
import { loadConfig } from '../src/config.ts';
import * as library from '../src/index.ts';
import { loadWorker } from '../src/worker/loader.ts';
import { runLoop, type LoopReport } from '../src/worker/loop.ts';
import type { LogSink } from '../src/worker/log.ts';
import { commonOptions, run, whole, withManager, type CommonOptions } from './cli.ts';
import { EXIT, EXIT_HELP } from './exit-codes.ts';
import { logEvent, logSink } from './log-sink.ts';
import { counted, flush, print, safeJson } from './output.ts';

interface Options extends CommonOptions {
  queue?: string;
  workers?: string;
  concurrency?: number;
  lease?: string;
  drain?: true;
  json?: true;
}

const HELP = `
A type is a file <type>.ts, .js or .mjs in the folder of workers; it default-exports a class that extends Worker.
SIGTERM and SIGINT stop it: it claims nothing more, lets its handlers end up to [worker] stopDeadline, then aborts them
and puts their messages back in line, and exits 0. A second signal does the latter at once and exits 1; a third one
exits without waiting for anything.

Examples:
  queue-worker invoices
  queue-worker invoices --workers ./jobs --concurrency 10 --lease 2m
  queue-worker invoices --drain --json`;

const program = commonOptions(new Command('queue-worker'))
  .description('Process the messages of one type.')
  .argument('<type>', 'the type of worker, and the queue it works on unless --queue says otherwise')
  .option('--queue <name>', 'the queue to work on; created if it does not exist')
  .option('--workers <dir>', 'folder of worker classes')
  .option('--concurrency <n>', 'how many messages are processed at once; in order at 1', whole(1))
  .option('--lease <duration>', 'how long a claim lasts without being renewed, such as 30s')
  .option('--drain', 'end when nothing is ready, nor held by any worker')
  .option('--json', 'print what was done as JSON')
  .addHelpText('after', HELP + '\n' + EXIT_HELP)
  .action(work);
await run(program);
await flush();
// A handler that ignored its signal may still be running, and what a worker left open would keep the process alive.
process.exit();

async function work(type: string, options: Options): Promise<void> {
  const { config: file, cacheRoot, durability, workers: workersDir, concurrency, lease, drain } = options;
  const flags = { cacheRoot, durability, workersDir, concurrency, lease };
  const config = await loadConfig({ config: file, flags });
  const log = logSink(config.log);
  const queue = options.queue ?? type;
  const { worker, path } = await loadWorker(type, { workersDir: config.worker.workersDir, library });
  const signals = stopSignals(log);
  await withManager(options, async (manager) => {
    log('INFO', `working on ${queue}`, { worker: path, concurrency: config.worker.concurrency });
    const report = await runLoop({
      ...config.worker,
      ...signals,
      queues: manager,
      queue,
      worker,
      drain: drain === true,
      sink: log,
      onEvent: (event) => logEvent(log, queue, event),
    });
    const { ready, deferred, disabled, failed } = (await manager.queueStatus(queue)).counts;
    const left = { ready, deferred, disabled, failed };
    await print(options.json ? safeJson({ type, queue, ...report, left }) : inWords(queue, report, left));
    if (report.ended === 'paused') process.exitCode = EXIT.tryAgain;
    if (signals.force.aborted) process.exitCode = EXIT.failure;
  });
}

/** What SIGTERM and SIGINT mean; handling them is all that keeps them from ending the process. */
function stopSignals(log: LogSink): { stop: AbortSignal; force: AbortSignal } {
  const stop = new AbortController();
  const force = new AbortController();
  const heed = (name: NodeJS.Signals): void => {
    if (!stop.signal.aborted) {
      log('INFO', `${name}: stopping; once more to stop at once`, {});
      stop.abort();
    } else if (!force.signal.aborted) {
      log('WARN', `${name}: stopping at once; messages in hand go back in line`, {});
      force.abort();
    } else process.exit(EXIT.failure);
  };
  process.on('SIGTERM', heed);
  process.on('SIGINT', heed);
  return { stop: stop.signal, force: force.signal };
}

function inWords(queue: string, { ended, completed, ...tries }: LoopReport, left: object): string {
  const done = [`${counted(completed, 'message')} completed`, ...nonZero(tries)].join(', ');
  const remains = nonZero(left);
  const why = ended === 'paused' ? 'stopped, for the queue is paused' : ended;
  return `${queue}: ${why}; ${done}${remains.length > 0 ? `; left in the queue: ${remains.join(', ')}` : ''}`;
}

function nonZero(counts: object): string[] {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${count} ${name}`);
}
