/** The last word of `queue-worker`: what was done, and what is left. */
import type { QueueManager } from '../../src/queue-manager.ts';
import type { LoopReport } from '../../src/worker/loop.ts';
import { EXIT } from '../exit-codes.ts';
import { counted, print, safeJson } from '../output.ts';

/** What a parent adds. */
type Report = LoopReport & { died?: number; killed?: number };

/** Prints it, and sets the exit code that goes with it. */
export async function tellReport(
  manager: QueueManager,
  { type, queue, json }: { type: string; queue: string; json: boolean },
  report: Report,
): Promise<void> {
  const { ready, deferred, disabled, failed } = (await manager.queueStatus(queue)).counts;
  const left = { ready, deferred, disabled, failed };
  await print(json ? safeJson({ type, queue, ...report, left }) : inWords(queue, report, left));
  if (report.ended === 'paused') process.exitCode = EXIT.tryAgain;
}

const ENDED: Readonly<Record<LoopReport['ended'], string>> = {
  drained: 'drained',
  paused: 'stopped, for the queue is paused',
  stopped: 'stopped',
  limit: 'limit reached',
};

function inWords(
  queue: string,
  { ended, completed, died = 0, killed = 0, ...tries }: Report,
  left: object,
): string {
  const done = [`${counted(completed, 'message')} completed`, ...nonZero(tries)].join(', ');
  const dead = nonZero({ died, killed });
  const remains = nonZero(left);
  return [
    `${queue}: ${ENDED[ended]}`,
    done,
    ...(dead.length > 0 ? [`processes: ${dead.join(', ')}`] : []),
    ...(remains.length > 0 ? [`left in the queue: ${remains.join(', ')}`] : []),
  ].join('; ');
}

function nonZero(counts: object): string[] {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${count} ${name}`);
}
