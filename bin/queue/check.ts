/** `queue check`: would the workers, as their files are now, take what is queued? */
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { loadConfig } from '../../src/config.ts';
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import * as library from '../../src/index.ts';
import { checkSchema, fitOf, type StandardSchema } from '../../src/standard-schema.ts';
import { loadWorker, type LoadedWorker } from '../../src/worker/loader.ts';
import { path, tell, withQueues, type CommonOptions } from '../cli.ts';
import { EXIT, exitCodeOf } from '../exit-codes.ts';
import { columnsOf } from '../layout.ts';
import { counted, flush, grouped, isRead, note, print, progress, safeJson, styled } from '../output.ts';

interface Options extends CommonOptions {
  workers?: string;
  json?: true;
}

const HELP = `
The schema of each queue's worker (\`schema\`, a Standard Schema) is run over all messages that may still be worked on,
deferred, claimed and disabled ones too; failed ones are left out. It changes nothing in the queues and starts no worker.
Of workers without a schema nothing can be said. Exits 1 when a message does not fit.

Example:
  queue check --workers ./new-release/workers && ./deploy`;

export function checkCommand(program: Command): void {
  program
    .command('check [queue...]')
    .description("run the workers' schemas over what is queued (default: all queues)")
    .option('--workers <dir>', 'folder of worker classes', path)
    .option('--json', 'print each message that does not fit as a line of JSON')
    .addHelpText('after', HELP)
    .action(async (queues: string[], _: unknown, command: Command) => {
      try {
        await check(new Set(queues), command.optsWithGlobals<Options>());
      } catch (error) {
        fail('', error);
      }
      await flush();
      // What a worker's file has opened when it was loaded would keep the process alive.
      process.exit();
    });
}

async function check(named: ReadonlySet<string>, options: Options): Promise<void> {
  const { config: file, cacheRoot, durability, workers } = options;
  const config = await loadConfig({ config: file, flags: { cacheRoot, durability, workersDir: workers } });
  const { workersDir } = config.worker;
  if (workers !== undefined) await refuseMissing(workersDir);
  await withQueues(config, async (manager) => {
    const queues = named.size > 0 ? [...named] : await manager.listQueues();
    if (queues.length === 0) note('no queues');
    const report = new Report(options.json === true, queues);
    for (const queue of queues) {
      try {
        // A queue that does not exist is told as that, and not as one without a worker.
        await manager.queueStatus(queue);
        const loaded = await workerOf(queue, workersDir, named.has(queue));
        const schema = loaded && schemaOf(loaded);
        if (!loaded) note(`${queue}: not checked, there is no worker of this type`);
        else if (!schema) note(`${queue}: not checked, ${quote(loaded.path, 300)} has no schema`);
        else await checkQueue(manager, queue, schema, report);
      } catch (error) {
        fail(queue, error);
      }
      if (!isRead()) return;
    }
  });
}

/** As the exit code, what does not fit outranks what could not be checked. */
function fail(queue: string, error: unknown): void {
  progress('');
  tell(`queue check${queue === '' ? '' : `: ${escapeControls(queue)}`}`, error);
  process.exitCode ??= exitCodeOf(error);
}

/** A folder that was named must be there: else `--workers` misspelt would find nothing to object to. */
async function refuseMissing(workersDir: string): Promise<void> {
  const isFolder = await stat(workersDir).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isFolder) return;
  throw new QueueError(
    'INVALID_ARGUMENT',
    `--workers: expected a folder, there is none at ${quote(workersDir, 300)}`,
  );
}

/** Undefined when there is none, unless the queue was named. */
async function workerOf(
  type: string,
  workersDir: string,
  isNamed: boolean,
): Promise<LoadedWorker | undefined> {
  try {
    return await loadWorker(type, { workersDir, library });
  } catch (error) {
    // Of a file that was found but is no good, the error names the file; of a folder that cannot be read, the cause.
    const isMissing = error instanceof QueueError && error.path === workersDir && error.cause === undefined;
    if (isMissing && !isNamed) return undefined;
    throw error;
  }
}

function schemaOf({ worker, path }: LoadedWorker): StandardSchema | undefined {
  const given: unknown = worker.schema;
  return given === undefined ? undefined : checkSchema(given, `the schema in ${quote(path, 300)}`);
}

async function checkQueue(
  manager: library.QueueManager,
  queue: string,
  schema: StandardSchema,
  report: Report,
): Promise<void> {
  let [checked, misfits, failed] = [0, 0, 0];
  for await (const message of manager.findMessages(queue)) {
    if (message.state === 'failed') {
      failed++;
      continue;
    }
    const issues = await issuesOf(schema, message.data);
    if (++checked % 10_000 === 0) progress(`${queue}: ${grouped(checked)} checked`);
    if (issues.length === 0) continue;
    misfits++;
    progress('');
    await report.misfit(queue, message, issues);
    if (!isRead()) break;
  }
  progress('');
  const leftOut = failed === 0 ? '' : `; ${grouped(failed)} failed left out`;
  if (checked === 0) note(`${queue}: no messages to check${leftOut}`);
  else if (misfits === 0) note(`${queue}: ${counted(checked, 'message')} checked, all fit${leftOut}`);
  else {
    const found = `${grouped(misfits)} of ${counted(checked, 'message')} would fail`;
    note(`${queue}: ${styled('red', found, process.stderr)}${leftOut}`);
    process.exitCode = EXIT.failure;
  }
}

/** None when the data fits. A schema that throws makes the try fail, so it is a reason too. */
async function issuesOf(schema: StandardSchema, data: unknown): Promise<string[]> {
  try {
    const fit = await fitOf(schema, data);
    return 'issues' in fit ? fit.issues : [];
  } catch (error) {
    return [`the schema threw ${error instanceof Error ? quote(error.message, 200) : quote(error)}`];
  }
}

/** A terminal of fewer columns gets two rows for a message. */
const ONE_ROW = 110;

/** What is printed, message by message: there may be a million. */
class Report {
  readonly #json: boolean;
  /** Columns of the longest queue's name. */
  readonly #width: number;
  #isEmpty = true;

  constructor(json: boolean, queues: readonly string[]) {
    this.#json = json;
    this.#width = Math.max('queue'.length, ...queues.map(({ length }) => length));
  }

  async misfit(queue: string, { uuid, alias }: library.Message, issues: readonly string[]): Promise<void> {
    if (this.#json) return print(safeJson({ queue, uuid, alias, issues }));
    if ((columnsOf(process.stdout) ?? Infinity) < ONE_ROW) {
      // Reasons are never cut: they are what one came for.
      await print(styled('bold', `${queue}  ${uuid}`));
      return print(
        `  ${[alias, ...issues]
          .filter((text) => text !== '')
          .map(escapeControls)
          .join('  ')}`,
      );
    }
    if (this.#isEmpty) await print(styled('bold', this.#row('queue', 'uuid', 'alias', 'reasons')));
    this.#isEmpty = false;
    return print(this.#row(queue, uuid, escapeControls(alias), issues.join('; ')));
  }

  #row(queue: string, uuid: string, alias: string, reasons: string): string {
    return `${queue.padEnd(this.#width)}  ${uuid.padEnd(36)}  ${alias.padEnd(16)}  ${reasons}`;
  }
}
