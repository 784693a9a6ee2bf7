/** From the values of all rounds to a table. */
import type { Machine } from './machine.ts';
import { median } from './timing.ts';
import type { Figure } from './workloads.ts';

/** The values of one figure, one a round. */
export interface Measured extends Figure {
  values: number[];
}

interface Spread {
  median: number;
  min: number;
  max: number;
}

export interface Compared extends Measured, Spread {
  /**
   * How much of its limit it reached, 1 being all of it, round by round: both were measured within seconds of each
   * other, so what else the machine was doing cancels out in part.
   */
  share?: Spread;
}

export interface Report {
  machine: Machine;
  seconds: number;
  rounds: number;
  backlog: number;
  figures: Compared[];
}

export function compare(measured: readonly Measured[]): Compared[] {
  return measured.map((figure) => {
    const limit = measured.find(({ name }) => name === figure.limit);
    const compared: Compared = { ...figure, ...spread(figure.values) };
    if (limit) {
      compared.share = spread(
        figure.values.map((value, round) => {
          const best = limit.values[round] ?? Number.NaN;
          return figure.unit === '/s' ? value / best : best / value;
        }),
      );
    }
    return compared;
  });
}

function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

export function inWords({ machine, seconds, rounds, backlog, figures }: Report): string {
  const limits = figures.filter(({ limit }) => limit === undefined);
  const jobs = figures.filter(({ limit }) => limit !== undefined);
  const parts = [
    machineInWords(machine),
    `median (least–most) of ${rounds} rounds; a timed run takes ${seconds} s; backlog ${backlog} messages`,
  ];
  if (machine.fileSystem === 'tmpfs')
    parts.push('These files are in memory: a sync does nothing, and "always" promises nothing. Use --dir.');
  if (jobs.length > 0) {
    const head = [
      'Coda',
      '',
      'durability',
      'median',
      '(least–most)',
      '',
      'of its limit',
      '(least–most)',
      'limit',
    ];
    parts.push(table([head, ...jobs.map((job) => [...columns(job), ...shareColumns(job)])], RIGHT));
  }
  const head = ['Limit of this machine', '', 'durability', 'median', '(least–most)', ''];
  parts.push(table([head, ...limits.map(columns)], RIGHT));
  return parts.join('\n\n');
}

export function machineInWords({ node, system, cpu, cpus, fileSystem, load }: Machine): string {
  return `Node ${node}, ${system}, ${cpus} × ${cpu}, files on ${fileSystem}, load ${load.toFixed(1)} at the start`;
}

function columns({ name, what, promised, median, min, max, unit }: Compared): string[] {
  return [name, what, promised, amount(median), `(${amount(min)}–${amount(max)})`, unit];
}

function shareColumns({ share, limit = '' }: Compared): string[] {
  if (!share) return ['', '', limit];
  return [percent(share.median), `(${percent(share.min)}–${percent(share.max)})`, limit];
}

/** With as many digits as mean something. */
export function amount(value: number): string {
  if (value >= 1_000_000) return `${(value / 1_000_000).toFixed(2)}M`;
  if (value >= 10_000) return `${(value / 1000).toFixed(value >= 100_000 ? 0 : 1)}k`;
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

const RIGHT: ReadonlySet<number> = new Set([3, 4, 6, 7]);

/** @param right the columns that are set to the right; all when absent. */
export function table(rows: string[][], right?: ReadonlySet<number>): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          (right?.has(column) ?? true) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
