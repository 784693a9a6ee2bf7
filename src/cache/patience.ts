/**
 * How long the making of the next segment is left to whoever is at it. All who meet a sealed segment could do it, but each that
 * does takes processor, disk and room from the others. Nobody is waited for without end: it is a matter of time alone.
 */
import { parseTemporaryName, sizeOf } from './files.ts';
import type { Log } from './log.ts';
import type { FileSystem } from './ports.ts';

/** For the maker of a small head. */
const GRACE_MS = 50;
/**
 * And for each MiB of a larger one. Measured, that takes 10 ms of a processor, and 30 where four want it; besides what the device
 * takes. So this is enough for a machine that has ten times as much to do, or a device that writes 15 MiB a second; and little
 * beside the four MiB of records which that MiB is paid with.
 */
const MIB_MS = 100;
const MIB = 1024 * 1024;
/** Files in the making may be those of the dead, and many. */
const LONGEST_MS = 10_000;

/** Who waits looks again after so long, and after this part of what it has waited: each look takes time from the maker, too. */
const LEAST_NAP_MS = 2;
const NAP_PART = 1 / 16;

/** Of who meets a seal and has waited for so long, until the next look; undefined: not any more. In ms. */
export function napAfter(waited: number, log: Log): number | undefined {
  if (waited >= GRACE_MS && waited >= patienceOf(log).ms) return undefined;
  return Math.max(LEAST_NAP_MS, waited * NAP_PART);
}

/** How many others are making the successor, as far as this handle, which is not, can see; and how long to leave them to it. */
export function patienceOf({ options, state, headEnd }: Log): { makers: number; ms: number } {
  const { ports, folder } = options;
  let makers = 0;
  // The next head will be about as long as this one; its maker, who takes the room for it first, knows better.
  let size = headEnd;
  for (const name of ports.fs.list(folder)) {
    if (parseTemporaryName(name)?.segment !== state.segment + 1) continue;
    makers++;
    size = Math.max(size, sizeAsFarAsKnown(ports.fs, `${folder}/${name}`));
  }
  const sealer = state.writers.get(state.seal?.by ?? '');
  if (makers > 0 && sealer && ports.processes.isKnownDead(sealer.who)) makers--;
  // They share the machine. And who begins is seen by the rest.
  return { makers, ms: Math.min(GRACE_MS + makers * (size / MIB) * MIB_MS, LONGEST_MS) };
}

function sizeAsFarAsKnown(fs: FileSystem, path: string): number {
  try {
    return sizeOf(fs, path);
  } catch {
    // Just made, and not for this account yet.
    return 0;
  }
}
