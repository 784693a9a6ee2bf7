/** What is known of a process that died: how it ended, how much memory it had, the last words of its stderr. */
import { readFileSync } from 'node:fs';

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Characters of an error's message that stay with a message of the queue; what is over is cut at the end. */
const LONGEST_MESSAGE = 2000;

/** What a process leaves behind. */
export interface Traces {
  /** Why its parent killed it. */
  why?: string | undefined;
  /** Bytes, when last seen. */
  memory?: number | undefined;
  /** The end of it. */
  stderr: string;
}

/** What a message keeps of the death of the process that worked on it. */
export class WorkerDied extends Error {
  override readonly name = 'WorkerDied';
  /** The name of the signal, or `EXIT_` and the exit code. */
  readonly code: string;
  /** Without the end of its stderr. */
  readonly summary: string;

  constructor(pid: number, { code, signal }: Exit, { why, memory, stderr }: Traces) {
    const how =
      (signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`) +
      (why === undefined ? '' : `, for ${why}`);
    const had =
      memory === undefined ? '' : `, having ${Math.round(memory / 1e6)} MB of memory when last seen`;
    const head = `process ${pid} ${how}${had}`;
    const intro = '; the end of its stderr:\n';
    const said = stderr.trim().slice(head.length + intro.length - LONGEST_MESSAGE);
    super(said === '' ? head : head + intro + said);
    this.summary = head;
    this.code = signal ?? `EXIT_${code}`;
    // Where the parent made this says nothing.
    this.stack = '';
  }
}

/** Bytes of memory that a process occupies now; undefined where that cannot be read (it is Linux that tells). */
export function memoryOf(pid: number): number | undefined {
  const kilobytes = /^VmRSS:\s*(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** Likewise of this process; undefined also when no file descriptor is left to ask by. */
export function ownMemory(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}

/** Whether it stands still, or is gone, as far as the system tells. */
export function standsStill(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  // The state follows the name of the program, which is in brackets and may contain any. See proc_pid_stat(5).
  return !/^[RSD]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
