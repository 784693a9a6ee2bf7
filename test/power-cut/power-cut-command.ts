/** `npm run power-cut`, inside its namespace. */
import { mkdtempSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EXIT } from '../../bin/exit-codes.ts';
import { note, progress, safe } from '../../bin/output.ts';
import { helped, misused } from '../../scripts/usage.mjs';
import type { Durability } from '../../src/backend.ts';
import { escapeControls, quote } from '../../src/errors.ts';
import { Disks, KINDS, type Kind } from './disks.ts';
import { Run } from './run.ts';

const DURABILITIES: readonly Durability[] = ['always', 'interval', 'os'];
const USUAL_KIND: Kind = 'ext4';
const DEFAULT_TRIALS = 20;
/** Then with a new disk: so that also young queues lose their power. */
const TRIALS_A_DISK = 25;
const PAUSE_MS = 800;

const USAGE = `Usage: npm run power-cut -- [--trials N] [--durability D] [--file-system F] [--pause MS]

Cuts the power of real disks under real processes, and compares what is left with what was acknowledged. Needs Linux, root, loop
devices and mkfs.xfs.

  --trials N       of each durability and file system (default ${DEFAULT_TRIALS})
  --durability D   ${DURABILITIES.join(', ')}, several with commas in between, or all (default all)
  --file-system F  ${Object.keys(KINDS).join(', ')}, likewise (default ${USUAL_KIND})
  --pause MS       at most so many milliseconds between two cuts (default ${PAUSE_MS})
  --help           print this

Exit codes: 0 every promise was kept, 1 one was not, 64 usage, 69 it cannot run here`;

interface Asked {
  trials: number;
  kinds: readonly Kind[];
  durabilities: readonly Durability[];
  pause: number;
}

interface Row {
  kind: Kind;
  durability: Durability;
  trials: number;
  acknowledged: number;
  lost: number;
  /** Milliseconds. */
  oldest: number;
  broken: number;
}

function say(text: string): void {
  process.stdout.write(`${safe(text)}\n`);
}

/** The exit code where there is nothing to run: help was asked for, or the arguments are not understood. */
export function answered(args: readonly string[]): number | undefined {
  const help = helped(args, USAGE);
  if (help !== undefined) return help;
  const asked = parse(args);
  return typeof asked === 'string' ? misused('power-cut', asked, USAGE) : undefined;
}

/** Returns the exit code. @param folder an empty one, that whoever calls removes. */
export async function main(folder: string, args: readonly string[]): Promise<number> {
  const asked = parse(args);
  if (typeof asked === 'string') return misused('power-cut', asked, USAGE);
  const disks = open(folder, asked.kinds);
  if (typeof disks === 'string') {
    note(`power-cut: skipped, ${escapeControls(disks)}`);
    return EXIT.unavailable;
  }
  const rows: Row[] = [];
  say(line(['file system', 'durability', 'trials', 'acknowledged', 'lost', 'oldest, ms', 'broken promises']));
  for (const kind of asked.kinds)
    for (const durability of asked.durabilities) {
      const row = await tryOut(disks, folder, { kind, durability, trials: asked.trials, pause: asked.pause });
      rows.push(row);
      progress('');
      const { trials, acknowledged, lost, oldest, broken } = row;
      say(
        line([kind, durability, trials, acknowledged, lost, lost === 0 ? '-' : Math.round(oldest), broken]),
      );
    }
  disks.remove();
  const broken = rows.reduce((sum, row) => sum + row.broken, 0);
  say(`${rows.reduce((sum, { trials }) => sum + trials, 0)} trials, ${broken} broken promises`);
  return broken > 0 ? EXIT.failure : EXIT.ok;
}

function parse(args: readonly string[]): Asked | string {
  try {
    const text = { type: 'string' } as const;
    const options = { trials: text, durability: text, 'file-system': text, pause: text };
    const { values } = parseArgs({ args: [...args], options });
    const trials = Number(values.trials ?? DEFAULT_TRIALS);
    const pause = Number(values.pause ?? PAUSE_MS);
    if (!Number.isSafeInteger(trials) || trials < 1)
      return `--trials: expected a number from 1, received ${quote(values.trials)}`;
    if (!Number.isSafeInteger(pause) || pause < 0 || pause > 600_000)
      return `--pause: expected milliseconds up to 600000, received ${quote(values.pause)}`;
    const durabilities = chosen('durability', values.durability, DURABILITIES, DURABILITIES);
    if (typeof durabilities === 'string') return durabilities;
    const kinds = chosen('file-system', values['file-system'], Object.keys(KINDS) as Kind[], [USUAL_KIND]);
    return typeof kinds === 'string' ? kinds : { trials, pause, kinds, durabilities };
  } catch (error) {
    return (error as Error).message;
  }
}

/** One, or several with commas in between, or all. */
function chosen<T extends string>(
  name: string,
  text: string | undefined,
  known: readonly T[],
  usual: readonly T[],
): readonly T[] | string {
  if (text === undefined) return usual;
  if (text === 'all') return known;
  const words = text.split(',');
  const strange = words.find((word) => !known.includes(word as T));
  if (strange === undefined) return words as T[];
  return `--${name}: expected ${known.join(', ')} or all, received ${quote(strange)}`;
}

/** A reason where there can be none. */
function open(folder: string, kinds: readonly Kind[]): Disks | string {
  for (const tool of new Set(['mkfs.xfs', ...kinds.map((kind) => KINDS[kind].make[0]!)]))
    if (spawnSync(tool, ['-V']).error) return `${tool} is not installed`;
  try {
    return new Disks(folder);
  } catch (error) {
    return `no disk can be made here: ${(error as Error).message}`;
  }
}

async function tryOut(
  disks: Disks,
  folder: string,
  { kind, durability, trials, pause }: Pick<Row, 'kind' | 'durability' | 'trials'> & { pause: number },
): Promise<Row> {
  const row: Row = { kind, durability, trials: 0, acknowledged: 0, lost: 0, oldest: 0, broken: 0 };
  while (row.trials < trials) {
    const run = await Run.start({ disks, folder, kind, durability, pause });
    try {
      for (let i = 0; i < TRIALS_A_DISK && row.trials < trials; i++) {
        progress(`${kind}, ${durability}, trial ${row.trials + 1} of ${trials}`);
        const { acknowledged, lost, broken } = await run.trial();
        row.trials++;
        row.acknowledged += acknowledged;
        row.lost += lost.length;
        row.oldest = Math.max(row.oldest, ...lost.map(({ age }) => age));
        if (broken.length === 0) continue;
        row.broken++;
        const kept = mkdtempSync(join(tmpdir(), 'coda-power-cut-kept-'));
        disks.keep(kind, 'queues', kept);
        say(`${kind}, ${durability}, trial ${row.trials}: ${broken.slice(0, 5).join('; ')}`);
        if (broken.length > 5) say(`  and ${broken.length - 5} more`);
        say(`  as it was left: ${kept}`);
      }
    } finally {
      await run.end();
    }
  }
  return row;
}

/** Told as they come: a long run may be cut short. */
function line(cells: readonly (string | number)[]): string {
  const widths = [14, 10, 6, 12, 6, 10, 15];
  return cells
    .map((cell, i) => (i < 2 ? String(cell).padEnd(widths[i]!) : String(cell).padStart(widths[i]!)))
    .join('  ');
}
