/**
 * A process of the torture: opens the queues, does what its role does until it is killed, is asked to leave or has done
 * enough, and keeps a diary. Run as one file with the engine, see engine.ts. To its director it says, on stdout, `o` when
 * it has opened its first queue and `s` before it stops itself.
 */
import fs, { writeSync } from 'node:fs';
import { openCache } from '../../src/cache/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { Seeded } from '../support/seeded.ts';
import { close } from './closer.ts';
import { Diary } from './diary.ts';
import { Hands, type Assignment } from './hands.ts';
import { trapped, UNNOTED } from './points.ts';
import { play } from './roles.ts';

/** Under `hidepid` a process cannot read about those of others. */
function makeBlind(): void {
  const { readFileSync } = fs;
  const blind = (path: string, ...rest: []): unknown => {
    if (/^\/proc\/\d+\/stat$/.test(path)) throw Object.assign(new Error('EACCES'), { code: 'EACCES' });
    return readFileSync(path, ...rest);
  };
  fs.readFileSync = blind as typeof readFileSync;
}

async function main(assignment: Assignment): Promise<void> {
  const { life, ground, cacheRoot } = assignment;
  const point = life?.point;
  let time = point?.name === UNNOTED ? point.time : 0;
  const diary = new Diary(assignment.diary, () => {
    if (--time === 0) strike();
  });
  const strike = (): void => {
    if (point?.how === 'stop') {
      diary.mark({ mark: 'stops', point: point.name });
      writeSync(1, 's');
      process.kill(process.pid, 'SIGSTOP');
    } else {
      diary.mark({ mark: 'dies', point: point!.name });
      process.kill(process.pid, 'SIGKILL');
    }
  };
  const ports: Ports = point
    ? { ...nodePorts, fs: trapped(nodePorts.fs, point.name, point.time, strike) }
    : nodePorts;
  if (life?.blind) makeBlind();
  const backend = await openCache({
    cacheRoot,
    durability: life?.durability ?? 'os',
    syncInterval: 20,
    fileMode: 0o600,
    ...ground,
    segmentBytes: life?.segmentBytes ?? ground.segmentBytes,
    ports,
  });
  const hands = new Hands(backend, diary, assignment);
  process.on('SIGTERM', () => (hands.leaving = true));
  const opened = (): void => {
    diary.mark({ mark: 'opened' });
    writeSync(1, 'o');
  };
  if (life) await play(hands, life, new Seeded(life.seed), opened);
  else await close(hands);
  await hands.close();
  const error = backend.lastError();
  if (error) hands.judge(error);
  diary.mark({ mark: 'ended' });
}

await main(JSON.parse(process.argv[2]!) as Assignment);
