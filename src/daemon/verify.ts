/** How a daemon stands, judged from outside: by its pid file, the process table, and what it says of itself. */
import fs from 'node:fs';
import { QueueError } from '../errors.ts';
import { nodeProcesses } from '../process-table.ts';
import { holderOf, lifeOf, pathsOf, survivorOf, type Holder, type Life, type Paths } from './place.ts';
import { monotonic, readState, type DaemonState } from './state.ts';

/**
 *      running    its process lives, and it is heard of as it should be
 *      starting   its process lives, and it has not come up yet
 *      stalled    its process lives, but nothing was heard of it within its limit
 *      unhealthy  its process lives, but its own verify() says no, or what it says of itself cannot be read
 *      dead       its process has died unasked, and nobody has cleared up after it
 *      failed     it has ended with an error
 *      stopped    it was told to end, or had come to its end, or was never started
 */
export type Standing = 'running' | 'starting' | 'stalled' | 'unhealthy' | 'dead' | 'failed' | 'stopped';

export interface Judgement {
  name: string;
  standing: Standing;
  /** Why it stands like that, in a few words; '' where there is no more to say. */
  reason: string;
  /** Whether `stopDaemon` was told that it is to stay stopped, and nobody has started it since. */
  isStoppedByHand: boolean;
  /** Whether it is to run: it was started, has not come to its own end, and nobody has stopped it who would start it again. */
  wanted: boolean;
  /** Who has its place, alive or dead. */
  holder: Holder | undefined;
  /** As last heard of, in this run or, when it does not run, in the last one. */
  state: DaemonState | undefined;
}

/** Those whose process lives. */
export function isUp({ standing }: Pick<Judgement, 'standing'>): boolean {
  return LIVING.includes(standing);
}

/** Those with whom nothing is wrong. */
export function isWell({ standing }: Pick<Judgement, 'standing'>): boolean {
  return standing === 'running' || standing === 'starting' || standing === 'stopped';
}

const LIVING: readonly Standing[] = ['running', 'starting', 'stalled', 'unhealthy'];
/** From taking its place to the first word a daemon has so long; ms. */
const FIRST_WORD = 60_000;
/** Looks at a daemon that changes hands meanwhile. */
const LOOKS = 5;

/** Names of the daemons that have left anything in the state folder, in order. Errors: STORAGE_FAILED. */
export function knownNames(stateDir: string): string[] {
  let files: string[];
  try {
    files = fs.readdirSync(stateDir);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    const why =
      code === 'EACCES' ? 'this account may not read it; it is open to the owner of the daemons' : code;
    throw new QueueError('STORAGE_FAILED', `expected the folder of the state of daemons: ${why}`, {
      path: stateDir,
      cause,
    });
  }
  const names = files.map((file) => /^(?!\.)([A-Za-z0-9._-]{1,64})\.(?:pid|state\.json)$/.exec(file)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort();
}

/**
 * How a daemon stands now. Changes nothing. Costs two small files and a look at the process table.
 * Errors: INVALID_ARGUMENT: no daemon can have that name; STORAGE_FAILED: what stands in the place of its pid file is none.
 */
export async function judge(stateDir: string, name: string): Promise<Judgement> {
  const paths = pathsOf(stateDir, name);
  for (let looks = 1; ; looks++) {
    const named = holderOf(stateDir, name);
    const holder = named ?? (await survivorOf(stateDir, name));
    const life = holder && (await lifeOf(holder, stateDir));
    const { state, trouble } = heard(paths);
    // Between the two looks it may have ended, and another begun.
    if (looks < LOOKS && holderOf(stateDir, name)?.token !== named?.token) continue;
    const verdict =
      holder && life && life !== 'dead'
        ? ofTheLiving(paths, holder, life, state, trouble)
        : ofOthers(holder ?? (await vanished(state, stateDir)), state, trouble);
    const isStoppedByHand = fs.existsSync(paths.stopped);
    const wanted = !isStoppedByHand && isWanted(verdict.standing, holder, state);
    return { name, ...verdict, isStoppedByHand, wanted, holder, state };
  }
}

type Verdict = Pick<Judgement, 'standing' | 'reason'>;

function heard({ state }: Paths): { state: DaemonState | undefined; trouble: string } {
  try {
    return { state: readState(state), trouble: '' };
  } catch (error) {
    return { state: undefined, trouble: (error as QueueError).message };
  }
}

function ofTheLiving(
  paths: Paths,
  holder: Holder,
  life: Life,
  state: DaemonState | undefined,
  trouble: string,
): Verdict {
  if (trouble !== '') return { standing: 'unhealthy', reason: trouble };
  if (state?.token !== holder.token) {
    const age = Date.now() - (fs.statSync(paths.pid, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    return age < FIRST_WORD
      ? { standing: 'starting', reason: '' }
      : { standing: 'stalled', reason: 'it has said nothing since its process began' };
  }
  const late = overdue(state, holder);
  if (late > 0) {
    const doubt = life === 'unknown' ? '; whether its process lives cannot be told from here' : '';
    return { standing: 'stalled', reason: `${STUCK[state.phase]}${doubt}` };
  }
  if (state.health?.sound === false) return { standing: 'unhealthy', reason: state.health.reason };
  if (state.upAt === null) return { standing: 'starting', reason: '' };
  return { standing: 'running', reason: state.troubles.join('; ') };
}

const STUCK: Readonly<Record<DaemonState['phase'], string>> = {
  starting: 'it does not come up',
  working: 'its iteration does not end',
  sleeping: 'it does not wake up',
  reloading: 'its reload does not end',
  stopping: 'it does not stop',
  ended: 'its process does not end',
};

/** Milliseconds since it should have been heard of. */
function overdue({ due }: DaemonState, { who }: Holder): number {
  const self = nodeProcesses.self();
  // The wall clock jumps; the other is the same for all that share it.
  const shared = who.boot === self.boot && who.timeNamespace === self.timeNamespace;
  return shared ? monotonic() - due.monotonic : Date.now() - Date.parse(due.at);
}

function ofOthers(holder: Holder | undefined, state: DaemonState | undefined, trouble: string): Verdict {
  const end = state?.end;
  if (holder) {
    const last = state?.token === holder.token ? end : undefined;
    if (!last) return { standing: 'dead', reason: `process ${holder.who.pid} died without a word` };
    if (last.why === 'crash') return { standing: 'dead', reason: last.error?.message ?? '' };
  }
  if (end?.why === 'error' && end.error)
    return { standing: 'failed', reason: `${end.error.name}: ${end.error.message}` };
  return { standing: 'stopped', reason: trouble };
}

/** Who died without leaving his place in order, although his pid file is not there any more: only what he said of himself is. */
async function vanished(state: DaemonState | undefined, stateDir: string): Promise<Holder | undefined> {
  if (!state || (state.end && state.end.why !== 'crash')) return undefined;
  const holder = { who: { pid: state.pid, ...state.process }, token: state.token };
  return state.end || (await lifeOf(holder, stateDir)) === 'dead' ? holder : undefined;
}

function isWanted(standing: Standing, holder: Holder | undefined, state: DaemonState | undefined): boolean {
  // Who removed the pid file of one that ran in the foreground has cleared up after it.
  if (standing === 'dead') return holder !== undefined || state?.background === true;
  if (standing !== 'stopped') return true;
  // In the foreground whoever ran it has ended it; in the background that was the machine going down.
  return state?.background === true && state.end?.why === 'told';
}
