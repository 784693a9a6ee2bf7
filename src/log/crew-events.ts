/** What a parent logs of its processes, and for them: they log to it, so that one process writes for all. */
import type { Config } from '../config.ts';
import { quote } from '../errors.ts';
import type { CrewEvent } from '../worker/crew/crew.ts';
import type { LogFields, LogSink } from '../worker/log.ts';
import { parseLine } from './formats.ts';
import { logEvent } from './worker-events.ts';

/** @param about what is said of the crew when its first member has begun. */
export function crewLog(log: LogSink, queue: string, about: LogFields): (event: CrewEvent) => void {
  let begun = false;
  return (event) => {
    if (event.type === 'ready' && !begun) {
      begun = true;
      log('INFO', `working on ${queue}`, about);
    }
    logCrewEvent(log, queue, event);
  };
}

function logCrewEvent(log: LogSink, queue: string, event: CrewEvent): void {
  switch (event.type) {
    case 'trouble':
      return logEvent(log, queue, event);
    case 'ready':
      return log('DEBUG', `process ${event.pid} has begun`, { queue });
    case 'died':
      return log('ERROR', `${event.evidence.summary}${then(event.pause)}`, { queue });
    case 'left':
      return log('INFO', `process ${event.pid} was stopped by somebody${then(event.pause)}`, { queue });
    case 'refused':
      return log('ERROR', `a process cannot begin: ${quote(event.error.message, 500)}${then(event.pause)}`, {
        queue,
      });
    case 'halted':
      return log('WARN', `process ${event.pid} is killed, for ${event.why}`, { queue });
    case 'timedOut':
    case 'released': {
      const { uuid, alias, attempts } = event.message;
      const about = { queue, uuid, alias: alias === '' ? undefined : alias, attempt: attempts };
      if (event.type === 'released') return log('INFO', 'back in line', about);
      const fate = event.final ? 'failed for good' : 'failed, will be tried again';
      return log(event.final ? 'ERROR' : 'WARN', `${fate}: its handler did not end in time`, about);
    }
  }
}

function then(pause: number | undefined): string {
  if (pause === undefined) return '';
  return pause === 0 ? '; another begins' : `; another begins in ${pause} ms`;
}

/** The configuration by which a member opens its log: it writes JSON to its stderr, for `stderrRelay` to read. */
export function memberLog(config: Config): Config {
  return { ...config, log: { ...config.log, format: 'json', destination: 'stderr' } };
}

/** Takes what members write to stderr: their log lines join the parent's, all others are told to `note` as they are. */
export function stderrRelay(log: LogSink, note: (line: string) => void): (line: string) => void {
  return (line) => {
    const logged = parseLine(line);
    if (!logged) return note(line);
    const { time: _, level, text, ...fields } = logged;
    log(level, text, fields);
  };
}
