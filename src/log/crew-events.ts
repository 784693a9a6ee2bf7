/** What a parent logs of its processes, and for them: they log to it, so that one process writes for all. */
import type { Config } from '../config.ts';
import { LEVELS, type LogLevel } from '../config-keys.ts';
import { quote } from '../errors.ts';
import type { CrewEvent } from '../worker/crew/crew.ts';
import type { LogFields, LogSink } from '../worker/log.ts';
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
    const logged = parsed(line);
    if (logged) log(logged.level, logged.text, logged.fields);
    else note(line);
  };
}

function parsed(line: string): { level: LogLevel; text: string; fields: LogFields } | undefined {
  if (!line.startsWith('{"time":')) return undefined;
  try {
    const { time: _, level, text, ...fields } = JSON.parse(line) as LogFields;
    if (!isLevel(level) || typeof text !== 'string') return undefined;
    return { level, text, fields };
  } catch {
    return undefined;
  }
}

function isLevel(value: unknown): value is LogLevel {
  return value !== 'OFF' && LEVELS.some((level) => level === value);
}
