/** Log lines of workers, and their wording: to stderr, for people on a terminal, as JSON elsewhere, as [log] says. */
import { escapeControls } from '../src/errors.ts';
import { toTryError } from '../src/try-error.ts';
import type { Config } from '../src/config.ts';
import type { LogSink } from '../src/worker/log.ts';
import type { WhyLost, WorkerEvent } from '../src/worker/events.ts';
import { note, safe, safeJson, styled } from './output.ts';

const SEVERITY = { TRACE: 0, DEBUG: 1, INFO: 2, WARN: 3, ERROR: 4 } as const;
const STYLE = { TRACE: 'dim', DEBUG: 'dim', INFO: 'plain', WARN: 'yellow', ERROR: 'red' } as const;

/** A line of a text that has several must not look like one of its own. */
const INDENT = `\n${' '.repeat(17)}`;

/** Whether lines are for people, or JSON. */
export function isPretty({ format }: Config['log']): boolean {
  return format === 'pretty' || (format === 'auto' && process.stderr.isTTY);
}

export function logSink(config: Config['log']): LogSink {
  const { level: least } = config;
  const pretty = isPretty(config);
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
    const line = `${level.padEnd(5)}  ${safe(text).replaceAll('\n', INDENT)}`;
    const style = STYLE[level];
    note(
      `${styled('dim', clock, process.stderr)}  ${style === 'plain' ? line : styled(style, line, process.stderr)}` +
        (rest === '' ? '' : `  ${styled('dim', escapeControls(rest), process.stderr)}`),
    );
  };
}

const LOST: Readonly<Record<WhyLost, string>> = {
  cancelled: 'was cancelled or removed; what the handler makes of it is discarded',
  lapsed: 'its claim has ended; what the handler makes of it is discarded',
  unsettled: 'how it went could not be recorded; it comes back when its lease is over',
};

export function logEvent(log: LogSink, queue: string, event: WorkerEvent): void {
  if (event.type === 'trouble') {
    const { during, error, pause } = event;
    const what = pause === undefined ? 'gave up' : `again in ${pause} ms`;
    log('ERROR', `${during} refused: ${messageOf(error)}; ${what}`, { queue });
    return;
  }
  if (event.type === 'started' || event.type === 'ended') return;
  const { uuid, alias, attempts } = event.message ?? { uuid: undefined, alias: '', attempts: undefined };
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
      return log(event.why === 'cancelled' ? 'INFO' : 'WARN', LOST[event.why], about);
    case 'hook':
      return log('ERROR', `${event.hook}() of the worker failed: ${messageOf(event.error)}`, about);
  }
}

function messageOf(error: unknown): string {
  // Handlers throw anything; this survives all of it.
  return toTryError(error, 1, Date.now()).message;
}
