/** Who a process is, and whether it lives: as far as this machine tells, and never more than it proves. */
import fs from 'node:fs';

/** Who a process is, as far as others on this machine can check it. Empty strings where the system does not tell. */
export interface Identity {
  pid: number;
  start: string;
  boot: string;
  pidNamespace: string;
  timeNamespace: string;
}

export interface Processes {
  self(): Identity;
  /** True only with proof; what cannot be read is not dead. */
  isKnownDead(who: Identity): boolean;
}

export interface ProcessFacts {
  /** A letter; Z and X are dead. */
  state: string;
  /** The process group, and the session. */
  group: number;
  session: number;
  /** In clock ticks since the machine started; tells apart two that had the same number. */
  start: string;
}

/** What Linux tells of a process (proc_pid_stat(5)); undefined where it does not, or there is none. */
export function factsOf(pid: number | 'self'): ProcessFacts | undefined {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    // `pid (name) state …`: the name may hold anything, so fields are counted from the last parenthesis.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return {
      state: fields[0] ?? '',
      group: Number(fields[2]),
      session: Number(fields[3]),
      start: fields[19] ?? '',
    };
  } catch {
    return undefined;
  }
}

/** Whether a process has ended, although its number may still be there because nobody has asked how. */
export function isEnded({ state }: ProcessFacts): boolean {
  return state === 'Z' || state === 'X';
}

const LARGEST_PID = 2 ** 31 - 1;

/** Whether there is no process of that number in this one's namespace. */
export function isNobody(pid: number): boolean {
  // Read from a file, perhaps: no system has such numbers, and none can be asked for one.
  if (pid > LARGEST_PID) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    // EPERM: somebody is there, under an account that is none of ours.
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function read(get: () => string): string {
  try {
    return get().trim();
  } catch {
    return '';
  }
}

let identity: Identity | undefined;

export const nodeProcesses: Processes = {
  self() {
    identity ??= {
      pid: process.pid,
      start: factsOf('self')?.start ?? '',
      boot: read(() => fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1')),
      pidNamespace: read(() => fs.readlinkSync('/proc/self/ns/pid')),
      timeNamespace: read(() => fs.readlinkSync('/proc/self/ns/time')),
    };
    return identity;
  },
  isKnownDead(who) {
    const self = this.self();
    if (!who.boot || who.boot !== self.boot || !who.pidNamespace || who.pidNamespace !== self.pidNamespace)
      return false;
    if (isNobody(who.pid)) return true;
    const facts = factsOf(who.pid);
    return facts !== undefined && (isEnded(facts) || (who.start !== '' && facts.start !== who.start));
  },
};
