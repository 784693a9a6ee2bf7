/** The log of a daemon, which may become another one while it runs. */
import type { Config } from '../../src/config.ts';
import { openLog, type OpenedLog } from '../../src/log/open.ts';
import type { LogSink } from '../../src/worker/log.ts';
import { tell } from '../cli.ts';

export class DaemonLog {
  #opened: OpenedLog;

  /** Errors: CONFIG_INVALID: its file cannot be written. */
  constructor(config: Config) {
    this.#opened = open(config);
  }

  readonly sink: LogSink = (level, text, fields) => this.#opened.sink(level, text, fields);

  /** Begins a new file where the old one was put aside. */
  reopen(): void {
    this.#opened.reopen();
  }

  /** Errors: CONFIG_INVALID: `use` would fail. */
  check(config: Config): void {
    open(config).close();
  }

  /** Logs as this configuration says, from now on; as before, and says why, where that cannot be. */
  use(config: Config): void {
    try {
      const opened = open(config);
      this.#opened.close();
      this.#opened = opened;
    } catch (error) {
      tell('queue-daemon', error);
    }
  }
}

function open(config: Config): OpenedLog {
  return openLog(config, { stdout: process.stdout, stderr: process.stderr });
}
