/** Log lines of workers, and their wording: to stderr, for people on a terminal, as JSON elsewhere, as [log] says. */
import { toTryError } from '../src/try-error.ts';
import type { Config } from '../src/config.ts';
import type { LogSink } from '../src/worker/log.ts';
import type { WorkerEvent } from '../src/worker/pool.ts';
import { note, safe, safeJson, styled } from './output.ts';

const SEVERITY = { TRACE: 0, DEBUG: 1, INFO: 2, WARN: 3, ERROR: 4 } as const;
const STYLE = { TRACE: 'dim', DEBUG: 'dim', INFO: 'plain', WARN: 'yellow', ERROR: 'red' } as const;

export function logSink({ level: least, format }: Config['log']): LogSink {
  const pretty = format === 'pretty' || (format === 'auto' && process.stderr.isTTY);
  return (level, text, fields) => {
    if (SEVERITY[level] < SEVERITY[least]) return;
    const now = new Date();
    if (!pretty) {
      note(safeJson({ time: now.toISOString(), level, text, ...fields }));
      return;
    }
    const { uuid, alias, attempt, queue: _, ...others } = fields;
    const about = alias ?? uuid;
    const rest = [
      ...(typeof about === 'string' ? [about] : []),
      ...(typeof attempt === 'number' && attempt > 1 ? [`try ${attempt}`] : []),
      ...Object.entries(others).map(
        ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
      ),
    ].join('  ');
    const clock = now.toTimeString().slice(0, 8);
    const line = `${level.padEnd(5)}  ${safe(text)}`;
    const style = STYLE[level];
    note(
      `${styled('dim', clock, process.stderr)}  ${style === 'plain' ? line : styled(style, line, process.stderr)}` +
        (rest === '' ? '' : `  ${styled('dim', safe(rest), process.stderr)}`),
    );
  };
}

export function logEvent(log: LogSink, queue: string, event: WorkerEvent): void {
  if (event.type === 'trouble') {
    const { during, error, pause } = event;
    const what = pause === undefined ? 'gave up' : `again in ${pause} ms`;
    log('ERROR', `${during} refused: ${messageOf(error)}; ${what}`, { queue });
    return;
  }
  const { uuid, alias, attempts } = event.message;
  const about = { queue, uuid, alias: alias === '' ? undefined : alias, attempt: attempts };
  switch (event.type) {
    case 'completed':
      return log('DEBUG', 'completed', { ...about, ms: Math.round(event.milliseconds) });
    case 'failed': {
      const fate = event.final ? 'failed for good' : 'failed, will be tried again';
      return log(event.final ? 'ERROR' : 'WARN', `${fate}: ${messageOf(event.error)}`, about);
    }
    case 'released':
      return log('INFO', 'back in line', about);
    case 'lost':
      return log('WARN', 'its claim has ended; what the handler does now is discarded', about);
  }
}

function messageOf(error: unknown): string {
  // Handlers throw anything; this survives all of it.
  return toTryError(error, 1, Date.now()).message;
}
