import type { Command } from 'commander';
import { storageError } from '../../src/cache/files.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import { planRepair, repairQueue, type RepairOptions } from '../../src/cache/repair.ts';
import { alone } from '../../src/cache/repair/lock.ts';
import { discard, keptOf, type Kept } from '../../src/cache/repair/quarantine.ts';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import type { CommonOptions } from '../cli.ts';
import { confirm, messagesIn, YES } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { counted, grouped, note, print, safe, safeJson, styled } from '../output.ts';
import { filesOf, orNamingOthers } from './files.ts';

interface Options extends CommonOptions {
  dryRun?: true;
  discard?: true;
  yes?: true;
  json?: true;
}

export function repairCommand(program: Command): void {
  program
    .command('repair <queue>')
    .description('make a damaged queue whole again from what is sound in its files')
    .option('--dry-run', 'only say what would be done')
    .option('--discard', 'delete the copies of old files that earlier repairs have kept')
    .option(...YES)
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      `
It keeps every message that sound records tell of, in its place in line; one of which it is not known
whether it has ended is delivered again. Stop the queue's workers first. A copy of all files, and a report,
stay in .quarantine below the folder of the queues, until --discard.

Exits 0 when the queue is sound, and after a dry run; 75 while processes use it.

Examples:
  queue repair invoices --dry-run
  queue repair invoices
  queue repair invoices --discard`,
    )
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const { folder, keepOutcomes, config } = await filesOf(queue, options);
      if (options.discard) {
        return discardKept(queue, folder, options).catch((error: unknown) => {
          throw storageError(error, 'discarding what repairs have kept', queue, folder);
        });
      }
      const plan = await orNamingOthers(queue, config, planRepair(folder, { keepOutcomes }));
      if (plan.outcome === 'sound' || options.dryRun) return tell(plan, options);
      if (plan.pids.length === 0 && !(await confirm(options.yes, async () => questionOf(plan)))) {
        process.exitCode = EXIT.failure;
        return;
      }
      await tell(
        await alone(folder, () => repairQueue(folder, { keepOutcomes } satisfies RepairOptions)),
        options,
      );
    });
}

function questionOf(plan: RepairReport): string {
  const question = `Repair ${plan.queue}? It keeps ${messagesIn(plan.counts)} and loses ${lostIn(plan)}.`;
  return [...damageIn(plan), question].join('\n');
}

/** How much there is, and where it is listed; not what a power cut may take, nor what is made anew. */
function damageIn({ queue, damage }: RepairReport): string[] {
  const { length } = damage.filter(({ kind }) => kind !== 'torn' && kind !== 'index');
  const places = length === 1 ? '1 place is damaged' : `${counted(length, 'place')} are damaged`;
  return length === 0 ? [] : [`${places} in its files: queue verify ${queue} lists what`];
}

function lostIn({ lost, unnamed, gone }: RepairReport): string {
  const count = lost.reduce((sum, each) => sum + each.count, 0);
  const known = count === 0 ? 'no message that is known of' : counted(count, 'message');
  const more = unnamed === 0 ? '' : `, and perhaps up to ${grouped(unnamed)} more`;
  return gone.length === 0 ? known + more : `${known}${more}, and what was in ${gone.join(', ')}`;
}

async function tell(report: RepairReport, { json }: Options): Promise<void> {
  if (json) await print(safeJson(report));
  else for (const line of inWords(report)) await print(line);
  if (report.pids.length > 0 && report.outcome !== 'sound') {
    const who = report.pids.map((pid) => `process ${pid}`).join(', ');
    note(`${report.queue} is in use by ${who}: stop them before a repair`);
  }
  if (report.outcome === 'in use') process.exitCode = EXIT.tryAgain;
  if (report.sound === false) process.exitCode = EXIT.failure;
}

const CUT = 'cut off; what stood behind that is not there';

function inWords(report: RepairReport): string[] {
  const {
    queue,
    outcome,
    counts,
    unnamed,
    gone,
    doubtful,
    outdated,
    exists,
    optionsKnown,
    lost,
    segments,
    quarantine,
    sound,
    earlier,
  } = report;
  const others =
    earlier.length === 0
      ? []
      : [`what earlier repairs have lost: ${earlier.map((path) => safe(`${path}/report.txt`)).join(', ')}`];
  if (outcome === 'sound') return [`${queue}: ${styled('bold', 'sound')}, nothing to repair`, ...others];
  if (outcome === 'in use') return [`${queue}: nothing was done`];
  const done = outcome === 'repaired';
  const files = (fate: string): string =>
    segments
      .filter((segment) => segment.fate === fate)
      .map(({ file }) => file)
      .join(', ') || 'none';
  const placeOf = (name: string): string => {
    const there = segments.find(({ file, fate }) => file === name && fate !== 'new');
    if (!there) return 'not there, nor what was in it';
    return there.is === undefined ? CUT : `${there.is}; what was in the file is not there`;
  };
  return [
    `${queue}: ${styled('bold', done ? 'repaired' : 'can be repaired')}`,
    `${done ? 'kept' : 'keeps'} ${messagesIn(counts)}`,
    ...(doubtful > 0
      ? [
          `  of which ${grouped(doubtful)} may have ended before, or been put off or disabled: they are delivered again`,
        ]
      : []),
    ...(outdated.length > 0
      ? [`  of which ${grouped(outdated.length)} have only an earlier content left: they stand as failed`]
      : []),
    ...(exists
      ? []
      : [styled('red', `nothing sound says that ${queue} exists: queue create ${queue} makes it anew`)]),
    ...(optionsKnown ? [] : [styled('red', 'its options and attributes are lost: it has none now')]),
    `${done ? 'lost' : 'loses'} ${lostIn(report)}`,
    ...lost.map(({ file, count, position, uuid, why }) => {
      const which = uuid ?? (position ? `position ${position.join('/')}` : `${grouped(count)} in ${file}`);
      return styled('red', `  ${safe(which)}: ${safe(why)}`);
    }),
    ...gone.map((file) => styled('red', `  ${file} is ${safe(placeOf(file))}`)),
    ...(unnamed > 0
      ? [
          styled(
            'red',
            `  of ${unnamed === 1 ? '1 record' : `up to ${grouped(unnamed)} records`} nothing is legible: each may have added a message, changed or ended one, or emptied the queue`,
          ),
        ]
      : []),
    ...(done ? [] : damageIn(report)),
    `files: mended ${files('mended')}; removed ${files('removed')}; new ${files('new')}`,
    ...segments
      .filter(({ is }) => is !== undefined)
      .map(({ file, is = '' }) => `${done ? 'put' : 'puts'} aside ${safe(file)}: ${safe(is)}`),
    ...others,
    ...(quarantine === undefined
      ? ['nothing was changed: this was a dry run']
      : [`report and old files: ${safe(quarantine)}`, `when all is well: queue repair ${queue} --discard`]),
    ...(sound === false ? [styled('red', `not sound yet: queue verify ${queue}`)] : []),
  ];
}

async function discardKept(queue: string, folder: string, options: Options): Promise<void> {
  const kept = keptOf(nodePorts, folder);
  const size = `${counted(kept.length, 'copy').replace('copys', 'copies')} (${grouped(bytesOf(kept))} bytes)`;
  if (kept.length > 0 && !options.dryRun) {
    const loses = async (): Promise<string> =>
      `Discard what repairs of ${queue} have kept? It loses ${size} of its old files, with their reports.`;
    if (!(await confirm(options.yes, loses))) {
      process.exitCode = EXIT.failure;
      return;
    }
    await alone(folder, () => discard(nodePorts, kept));
  }
  if (options.json)
    return print(
      safeJson({ queue, discarded: options.dryRun ? [] : kept, kept: options.dryRun ? kept : [] }),
    );
  const what = options.dryRun ? 'would discard' : 'discarded';
  await print(kept.length === 0 ? `${queue}: nothing is kept in quarantine` : `${queue}: ${what} ${size}`);
}

function bytesOf(kept: readonly Kept[]): number {
  return kept.reduce((sum, { bytes }) => sum + bytes, 0);
}
