/** What lies in the folder when a round is over: nothing that grows for ever, whoever died over it. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Violation } from './history.ts';
import type { Round } from './director.ts';

/** A queue that is empty and has moved on keeps the segment in use, its predecessor, and what that may rest on. */
const SEGMENTS = 3;
const RESERVE_BYTES = 1024 * 1024;
const NAMES = /^(\d{8}\.(journal|index)|reserve)$/;

/** @param root of the queues, all of which are empty and have moved on by a few segments. */
export function checkFolders(root: string, { ground, kills }: Round): Violation[] {
  const found: Violation[] = [];
  const say = (text: string): void => void found.push({ kind: 'other', text });
  const names = readdirSync(root);
  // A queue that was being made, and a trial of the file system: nobody tidies up after who died over them.
  const hidden = names.filter((name) => name.startsWith('.'));
  if (hidden.length > kills) say(`${kills} deaths have left behind ${hidden.join(' ')}`);
  for (const queue of names) {
    if (hidden.includes(queue)) continue;
    const files = readdirSync(join(root, queue));
    for (const file of files) if (!NAMES.test(file)) say(`${file} was left behind in the folder of ${queue}`);
    const segments = files.filter((file) => file.endsWith('.journal'));
    if (segments.length > SEGMENTS) say(`the empty queue ${queue} keeps ${segments.length} segments`);
    const bytes = files.reduce((sum, file) => sum + statSync(join(root, queue, file)).size, 0);
    // The largest message may stand in each; and a segment grows to four times its head.
    const most = RESERVE_BYTES + SEGMENTS * 2 * (ground.segmentBytes + 1024 * 1024);
    if (bytes > most) say(`the empty queue ${queue} takes ${bytes} bytes, expected at most ${most}`);
  }
  return found;
}
