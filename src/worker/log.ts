/** Logging as the library knows it: lines go to a sink, which `bin/` brings along; nothing in src/ prints. */
import type { LogLevel } from '../config-keys.ts';
import type { Json } from '../message.ts';

/** What belongs to a line beside its text. A value that is undefined is left out. */
export type LogFields = Readonly<Record<string, Json | undefined>>;

/** Takes one line: prints it, keeps it, or drops it for its level. Must not throw. */
export type LogSink = (level: LogLevel, text: string, fields: LogFields) => void;

export interface Log {
  trace(text: string, fields?: LogFields): void;
  debug(text: string, fields?: LogFields): void;
  info(text: string, fields?: LogFields): void;
  warn(text: string, fields?: LogFields): void;
  error(text: string, fields?: LogFields): void;
  /** For what ends the program. */
  fatal(text: string, fields?: LogFields): void;
}

/** What a line begins with that a log of ours has written as JSON. */
export const LOGGED = '{"time":';

/** Hands each line on to the method of `log` that is called as its level is. Throws what that throws. */
export function sinkOf(log: Log): LogSink {
  return (level, text, fields) => log[level.toLowerCase() as Lowercase<LogLevel>](text, fields);
}

/** A log whose lines all carry `about`. Its methods never throw, whatever they are given. */
export function logAbout(sink: LogSink, about: LogFields): Log {
  const at =
    (level: LogLevel) =>
    (text: string, fields?: LogFields): void =>
      sink(level, text, fields ? joined(about, fields) : about);
  return {
    trace: at('TRACE'),
    debug: at('DEBUG'),
    info: at('INFO'),
    warn: at('WARN'),
    error: at('ERROR'),
    fatal: at('FATAL'),
  };
}

function joined(about: LogFields, fields: LogFields): LogFields {
  try {
    return { ...about, ...fields };
  } catch {
    // A getter, or a proxy, that throws.
    return { ...about, fields: 'cannot be read' };
  }
}
