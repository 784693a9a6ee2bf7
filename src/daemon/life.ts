/** Whether who has a place lives: by the process table, and where that does not tell, by his sign of life. */
import { factsOf, isEnded, isNobody, nodeProcesses, type Identity } from '../process-table.ts';
import { pathsOf, type Holder } from './holder.ts';
import { knock } from './life-sign.ts';
import { readState } from './state.ts';

/** `unknown`: it may live in another container, which left no sign of life; or this system tells too little. */
export type Life = 'alive' | 'dead' | 'unknown';

/**
 * Who has a place although somebody has removed his pid file: as the state file says, and only if it is certain that he
 * lives.
 */
export async function survivorOf(stateDir: string, name: string): Promise<Holder | undefined> {
  let state: ReturnType<typeof readState>;
  try {
    state = readState(pathsOf(stateDir, name).state);
  } catch {
    return undefined;
  }
  if (!state || state.end) return undefined;
  const holder = { who: { pid: state.pid, ...state.process }, token: state.token };
  return (await lifeOf(holder, stateDir)) === 'alive' ? holder : undefined;
}

/** Whether a holder lives. Costs a look at the process table, and a knock where that does not tell. */
export async function lifeOf({ who, token }: Holder, stateDir: string): Promise<Life> {
  const self = nodeProcesses.self();
  // The state folder belongs to one machine: another boot is an earlier one.
  if (who.boot !== '' && self.boot !== '' && who.boot !== self.boot) return 'dead';
  if (nodeProcesses.isKnownDead(who)) return 'dead';
  if (isHere(who)) return 'alive';
  // Where the system has no namespaces to hide a process in.
  if (self.pidNamespace === '' && isNobody(who.pid)) return 'dead';
  return knock(stateDir, token);
}

/**
 * Whether a process of this number is the holder, right now: to be asked just before it is sent a signal. False where the
 * system does not tell.
 */
export function isHere(who: Identity): boolean {
  const self = nodeProcesses.self();
  if (who.start === '' || who.boot !== self.boot || who.pidNamespace !== self.pidNamespace) return false;
  const facts = factsOf(who.pid);
  return facts !== undefined && facts.start === who.start && !isEnded(facts);
}
