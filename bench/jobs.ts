/** The machine's limits and Coda's jobs, measured in alternation. */
import { Children } from './children.ts';
import { compare, type Compared, type Measured } from './report.ts';
import { LIMITS, WORKLOADS, type Stage, type Workload } from './workloads.ts';

export interface JobsOptions {
  children: Children;
  /** Names, or beginnings of names; all when empty. */
  only: readonly string[];
  seconds: number;
  rounds: number;
  backlog: number;
  /** A new, empty folder, kept until `between` is called. */
  folder: () => string;
  /** An empty folder that is kept. */
  backlogRoot: string;
  /** Called between two measurements: removes what was made for the one before. Throws to end it all. */
  between: (next: string) => void;
}

export async function runJobs(options: JobsOptions): Promise<Compared[]> {
  const { children, seconds, rounds, backlog, backlogRoot, folder, between } = options;
  const chosen = choose(options.only);
  between(`loading a backlog of ${backlog} messages`);
  await new Children(undefined).run('adding', 'load', { folder: backlogRoot, count: backlog });
  const measured = chosen
    .flatMap(({ figures }) => figures)
    .map((figure): Measured => ({ ...figure, values: [] }));
  for (let round = 0; round < rounds; round++) {
    // Backwards every other time: nothing always runs in the wake of the same neighbour.
    for (const workload of round % 2 === 0 ? chosen : chosen.toReversed()) {
      between(`round ${round + 1} of ${rounds}: ${workload.name}`);
      const stage: Stage = { children, seconds, backlog, backlogRoot, folder };
      const values = await workload.run(stage);
      for (const [i, { name }] of workload.figures.entries()) {
        measured.find((figure) => figure.name === name)!.values.push(values[i]!);
      }
    }
  }
  return compare(measured);
}

/** Each of Coda's workloads right behind the limits that it needs, unless they came before. */
function choose(only: readonly string[]): Workload[] {
  const wanted = ({ name }: Workload): boolean =>
    only.length === 0 || only.some((begin) => name.startsWith(begin));
  const chosen = new Set<Workload>();
  for (const workload of WORKLOADS.filter(wanted)) {
    for (const { limit } of workload.figures) {
      const owner = LIMITS.find(({ figures }) => figures.some(({ name }) => name === limit));
      if (owner) chosen.add(owner);
    }
    chosen.add(workload);
  }
  for (const limit of LIMITS.filter(wanted)) chosen.add(limit);
  return [...chosen];
}
