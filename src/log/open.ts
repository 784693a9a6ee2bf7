/**
 * The log of a program, as [log] of its configuration says: `openLog` gives the sink that everything else logs to. pino
 * decides what is logged and makes it JSON; what else lines may look like is made from that, so that all formats say the same.
 *
 * Loading pino takes some 25 ms: commands that end at once should not load this module.
 */
import { pino, stdTimeFunctions } from 'pino';
import type { Config } from '../config.ts';
import type { LogFields, LogSink } from '../worker/log.ts';
import { LogFile } from './file.ts';
import { json, pretty, syslog, type Line, type Paint } from './formats.ts';
import { journal, leadsToJournal } from './journal.ts';
import { plainFields, plainText } from './plain.ts';
import { Redaction } from './redaction.ts';

/** Such as process.stderr. Somebody must listen to its errors. */
interface LogStream {
  write(text: string): unknown;
  isTTY?: boolean;
  /** Its descriptor, where it has one. */
  fd?: number;
  hasColors?(): boolean;
}

interface LogStreams {
  /** Where lines go when the configuration says stdout: stderr, in a program whose stdout is for data. */
  stdout: LogStream;
  /** Likewise; and where it is told that a log file cannot be written. */
  stderr: LogStream;
}

export interface OpenedLog {
  /** Has handed the line to the system, or dropped it for its level, when it returns. */
  readonly sink: LogSink;
  /** Opens the file again, for one that was put aside; without a file does nothing. Never throws: what fails is told on stderr. */
  readonly reopen: () => void;
  /** Lines that come later go nowhere. */
  readonly close: () => void;
}

/** Errors: CONFIG_INVALID where the file of the configuration cannot be written. */
export function openLog(config: Config, streams: LogStreams): OpenedLog {
  const { level, destination, format } = config.log;
  const redaction = new Redaction(config);
  const stream =
    destination === 'stdout' ? streams.stdout : destination === 'stderr' ? streams.stderr : undefined;
  const paint: Paint = stream?.isTTY && stream.hasColors?.() ? coloured : (_, text) => text;
  const isPretty = format === 'pretty' || (format === 'auto' && stream?.isTTY === true);
  const isJournal = format === 'auto' && leadsToJournal(stream?.fd, process.env);
  const toLine = (written: string): string =>
    isPretty
      ? pretty(JSON.parse(written) as Line, paint)
      : isJournal
        ? journal(JSON.parse(written) as Line)
        : format === 'syslog'
          ? syslog(JSON.parse(written) as Line)
          : json(written);

  const file = stream
    ? undefined
    : new LogFile(destination, {
        ...config.log,
        lost: (count, why) =>
          toLine(
            JSON.stringify({
              level: 'WARN',
              time: new Date().toISOString(),
              text: `${count} ${count === 1 ? 'line' : 'lines'} of this log could not be written: ${why}`,
              pid: process.pid,
            }),
          ),
        onTrouble: (text) => streams.stderr.write(`${text}\n`),
      });

  const write = (written: string): void => {
    // pino ends each with a line break.
    const line = toLine(written.slice(0, -1));
    if (file) file.append(line);
    else stream?.write(`${line}\n`);
  };
  const logger = pino(
    {
      level: level === 'OFF' ? 'silent' : level.toLowerCase(),
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      // A field of that name is one like any other, and plain already.
      serializers: { err: (field: unknown) => field },
      formatters: {
        level: (label) => ({ level: label.toUpperCase() }),
        // Wrapped below: of a record with method, headers and socket pino would make a request.
        log: ({ record }) => record as Record<string, unknown>,
      },
    },
    { write },
  );
  let open = true;
  const sink: LogSink = (level, text, fields: LogFields) => {
    const name = level.toLowerCase() as Lowercase<typeof level>;
    if (!open || !logger.isLevelEnabled(name)) return;
    const record = Object.assign(Object.create(null) as object, { text: plainText(text, redaction) });
    logger[name]({ record: Object.assign(record, plainFields(fields, redaction)) });
  };
  return {
    sink,
    reopen: () => file?.reopen(),
    close: () => {
      open = false;
      file?.close();
    },
  };
}

const CODES = { dim: [2, 22], red: [31, 39], yellow: [33, 39] } as const;

const coloured: Paint = (style, text) => `\u001b[${CODES[style][0]}m${text}\u001b[${CODES[style][1]}m`;
