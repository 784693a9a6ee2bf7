/** On what the figures were taken: without it they mean nothing. */
import { statfsSync } from 'node:fs';
import os from 'node:os';

/** Magic numbers of statfs(2). */
const FILE_SYSTEMS = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'XFS'],
  [0x9123683e, 'btrfs'],
  [0x2fc12fc1, 'ZFS'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlay'],
  [0x1a, 'APFS'],
]);

export interface Machine {
  node: string;
  system: string;
  cpu: string;
  cpus: number;
  fileSystem: string;
  /** Average number of runnable processes over a minute, at the start. */
  load: number;
}

/** @param folder where the queues are made. */
export function describeMachine(folder: string): Machine {
  const type = statfsSync(folder).type >>> 0;
  const cpus = os.cpus();
  return {
    node: process.version,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    cpu: cpus[0]?.model ?? 'unknown',
    cpus: cpus.length,
    fileSystem: FILE_SYSTEMS.get(type) ?? `type 0x${type.toString(16)}`,
    load: os.loadavg()[0] ?? 0,
  };
}
