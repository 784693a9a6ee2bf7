/** Rounds of the torture, one after the other, each judged when it is over. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Edit } from '../simulation/realm.ts';
import { account } from './account.ts';
import { check } from './checker.ts';
import { CLOSER, diariesIn, queuesIn, run, stderrIn } from './director.ts';
import { makeProgram } from './engine.ts';
import { checkFolders } from './folders.ts';
import { callsOf, readHistory, type Violation } from './history.ts';

export interface Torture {
  seed: number;
  /** Ends of processes in a round. */
  killsPerRound: number;
  /** No further round is begun when this says no. */
  goesOn: (record: TortureRecord) => boolean;
  /** Breaks the engine. */
  edits?: readonly Edit[];
  /** Ends everything at once, without a verdict on the round that is under way. */
  signal?: AbortSignal;
  /** Where the folders of rounds are made; among temporary files, unless it is given. */
  base?: string;
  /** Whether the folder of a failed round stays; it does unless this is false. */
  keeps?: boolean;
  /** Told after each round. */
  progress?: (record: TortureRecord) => void;
}

/** What has been done, and what has come of it. */
export interface TortureRecord {
  seed: number;
  rounds: number;
  kills: number;
  stops: number;
  /** Acknowledged. */
  messages: number;
  processes: number;
  /** How often a process has died or stopped itself at each point. */
  points: Map<string, number>;
  /** Settles that were refused, because the claim was over by then. */
  late: number;
  violations: Violation[];
  /** The violations, and the stories of the messages that they are about; empty when there are none. */
  account: string[];
  /** Queues, diaries and what was printed, of the round with violations: kept. */
  folder?: string;
}

/** Resolves after the first round with violations, or when there is to be no further one. */
export async function torture(wanted: Torture): Promise<TortureRecord> {
  const base = mkdtempSync(join(wanted.base ?? tmpdir(), 'coda-torture-'));
  const record: TortureRecord = {
    seed: wanted.seed,
    rounds: 0,
    kills: 0,
    stops: 0,
    messages: 0,
    processes: 0,
    points: new Map(),
    late: 0,
    violations: [],
    account: [],
  };
  try {
    const program = join(base, 'program.mjs');
    await makeProgram(program, wanted.edits);
    while (record.violations.length === 0 && wanted.goesOn(record)) {
      const folder = join(base, `round-${record.rounds + 1}`);
      if (!(await playRound(wanted, record, program, folder))) break;
      wanted.progress?.(record);
      if (record.violations.length === 0) rmSync(folder, { recursive: true });
      else if (wanted.keeps !== false) record.folder = folder;
    }
  } finally {
    if (record.folder === undefined) rmSync(base, { recursive: true, force: true });
  }
  return record;
}

/** A round, judged. False: it was broken off. */
async function playRound(
  { seed, killsPerRound, signal }: Torture,
  record: TortureRecord,
  program: string,
  folder: string,
): Promise<boolean> {
  const number = record.rounds + 1;
  const plan = { program, folder, seed, round: number, kills: killsPerRound };
  const round = await run(signal ? { ...plan, signal } : plan);
  if (signal?.aborted) return false;
  const history = readHistory(diariesIn(folder), round.ends);
  record.rounds = number;
  record.kills += round.kills;
  record.stops += round.stops;
  record.processes += round.ends.size;
  record.messages += [...history.mails.values()].filter(({ fate }) => fate === 'added').length;
  for (const [point, times] of history.points)
    record.points.set(point, (record.points.get(point) ?? 0) + times);
  record.late += callsOf(history.calls, 'settle').filter(({ answer }) => answer === false).length;
  record.violations = [
    ...check(history, CLOSER),
    ...round.faults.map((text): Violation => ({ kind: 'other', text: `${text}; see ${stderrIn(folder)}` })),
    ...checkFolders(queuesIn(folder), round),
  ];
  if (record.violations.length === 0) return true;
  record.account = account(record.violations, history);
  const lines = [`seed ${seed}, round ${number}`, ...record.account];
  writeFileSync(join(folder, 'account'), lines.map((line) => `${line}\n`).join(''));
  return true;
}
