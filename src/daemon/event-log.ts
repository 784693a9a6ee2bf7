/** Windows' event log, where its administrators look first. */
import { spawnSync } from 'node:child_process';
import { escapeControls } from '../errors.ts';

/** What eventcreate takes. */
const LONGEST = 2000;

/** Writes why daemon `name` has ended although nobody asked for it; on other systems does nothing. Never throws. */
export function tellEventLog(name: string, why: string): void {
  if (process.platform !== 'win32') return;
  // The process is about to end: nothing could be waited for.
  spawnSync('eventcreate.exe', eventOf(name, why), { stdio: 'ignore', windowsHide: true, timeout: 5000 });
}

/** The arguments of eventcreate. */
export function eventOf(name: string, why: string): string[] {
  const text = escapeControls(`daemon ${name}: ${why}`).slice(0, LONGEST);
  return ['/L', 'APPLICATION', '/T', 'ERROR', '/SO', 'coda', '/ID', '1', '/D', text];
}
