/** Queues in real folders, to be damaged: built through the public API, with every kind of record in them. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCache } from '../../src/cache/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { headerText, scanLines } from '../../src/cache/record.ts';
import { QueueManager } from '../../src/index.ts';
import type { Durability, Json, Message } from '../../src/index.ts';
import { LATER, refusal } from './fixed.ts';

export const Q = 'jobs';

export interface OpenHow {
  segmentBytes?: number;
  durability?: Durability;
  ports?: Ports;
  /** Ms. */
  syncInterval?: number;
}

/** A manager on the queues in `root`. */
export async function openManager(root: string, how: OpenHow = {}): Promise<QueueManager> {
  const { segmentBytes = 1_000_000, durability = 'os', ports = nodePorts, syncInterval = 50 } = how;
  const backend = await openCache({
    cacheRoot: root,
    durability,
    syncInterval,
    fileMode: 0o600,
    keepOutcomes: 50,
    crashLimit: 3,
    segmentBytes,
    ports,
  });
  return QueueManager.open({ backend, backoff: 0 });
}

/** Ports of a process that thinks itself on a machine that was started at another time. */
export function otherBoot(ports: Ports = nodePorts): Ports {
  const self = { ...ports.processes.self(), boot: 'another-boot' };
  return { ...ports, processes: { self: () => self, isKnownDead: () => false } };
}

export class Specimen {
  readonly root = realpathSync(mkdtempSync(join(tmpdir(), 'coda-specimen-')));

  get folder(): string {
    return join(this.root, Q);
  }

  /** Another one with the same files. */
  copy(): Specimen {
    const other = new Specimen();
    this.copyTo(other);
    return other;
  }

  /** Into one that is empty. */
  copyTo(other: Specimen): void {
    cpSync(this.root, other.root, { recursive: true });
  }

  /** Names of the segments, oldest first. */
  segments(): string[] {
    return readdirSync(this.folder)
      .filter((name) => /^\d{8}\.journal$/.test(name))
      .sort();
  }

  path(file: string): string {
    return join(this.folder, file);
  }

  records(file: string): RecordAt[] {
    return recordsIn(readFileSync(this.path(file)));
  }

  /** Changes one byte. */
  flip(file: string, at: number, mask = 0x01): void {
    const bytes = readFileSync(this.path(file));
    bytes[at]! ^= mask;
    writeFileSync(this.path(file), bytes);
  }

  /** Puts bytes in the place of [from, to). */
  splice(file: string, from: number, to: number, bytes = ''): void {
    const whole = readFileSync(this.path(file));
    writeFileSync(
      this.path(file),
      Buffer.concat([whole.subarray(0, from), Buffer.from(bytes), whole.subarray(to)]),
    );
  }

  dispose(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

export interface RecordAt {
  start: number;
  /** Behind its last byte; its newline stands here. */
  end: number;
  header: { op: string } & Record<string, Json>;
}

export function recordsIn(bytes: Buffer): RecordAt[] {
  const records: RecordAt[] = [];
  scanLines(bytes, 0, bytes.length, {
    record(buffer, start, end, headerLength) {
      records.push({
        start,
        end,
        header: JSON.parse(headerText(buffer, start, headerLength)) as RecordAt['header'],
      });
    },
    bad() {},
  });
  return records;
}

/** Makes the newest segment be sealed, by adding to it what is then removed. */
export async function rotate(manager: QueueManager, specimen: Specimen): Promise<void> {
  const before = specimen.segments().at(-1);
  while (specimen.segments().at(-1) === before) {
    const { uuid } = await manager.addMessage(Q, { data: 'x'.repeat(50_000), disabled: true });
    await manager.removeMessage(Q, uuid);
  }
}

/** The same with a manager of its own, and without any message. */
export async function rotateBare(specimen: Specimen): Promise<void> {
  const manager = await openManager(specimen.root, { segmentBytes: 1000 });
  const before = specimen.segments().at(-1);
  while (specimen.segments().at(-1) === before)
    await manager.setCustomAttributes(Q, { text: 'x'.repeat(1000) });
  await manager.close();
}

/** Every operation there is, in one segment; what is alive afterwards differs in every respect. */
export async function everyOperation(root: string, ports = nodePorts): Promise<void> {
  const manager = await openManager(root, { durability: 'always', ports });
  // So that the segment begins with the record of its creation.
  await manager.createQueue(Q);
  await manager.destroyQueue(Q);
  await manager.createQueue(Q);
  // What it has written is on the device when it closes, and not before.
  const interval = { durability: 'interval', syncInterval: 3_600_000 } as const;
  const other = await openManager(root, { ...interval, ports: otherBoot(ports) });
  await other.addMessage(Q, { data: { n: 103 } });
  await other.close();
  await manager.addMessages(Q, [{ data: 'to be purged' }, { data: 'this too' }]);
  await manager.purgeQueue(Q);
  const added = await manager.addMessages(
    Q,
    Array.from({ length: 24 }, (_, n) => ({
      data: { n, text: '·'.repeat(n) },
      alias: n % 3 ? '' : `alias-${n}`,
      retries: n % 4,
    })),
  );
  await manager.addMessage(Q, {
    data: { n: 100 },
    dateTimeDeferredExecution: new Date(LATER),
    username: 'me',
  });
  await manager.addMessage(Q, { data: { n: 101 }, disabled: true });
  // Alone in its record.
  await manager.addMessage(Q, { data: { n: 102 } });
  await lapse(manager, ports);
  const claims = await manager.claimMessages(Q, { limit: 12, lease: 600_000 });
  await manager.completeMessage(Q, claims[0]!);
  await manager.completeMessage(Q, claims[1]!);
  await manager.failMessage(Q, claims[2]!, refusal('again'), { retryAt: new Date(LATER) });
  await manager.failMessage(Q, claims[3]!, refusal('never'), { final: true });
  await manager.failMessage(Q, claims[4]!, refusal('once'), { final: true });
  await manager.releaseMessage(Q, claims[5]!);
  await manager.renewMessage(Q, claims[6]!, 600_000);
  await manager.reportProgress(Q, claims[7]!, { percent: 30, text: 'a third', lease: 600_000 });
  await manager.cancelMessage(Q, claims[8]!.uuid);
  await manager.retryMessages(Q, [claims[4]!.uuid]);
  const [one, two, three] = added.slice(-3) as Message[];
  await manager.updateMessage(Q, one!.uuid, { data: { n: 'updated' } });
  await manager.updateMessage(Q, two!.uuid, {
    dateTimeDeferredExecution: new Date(LATER + 3_600_000),
    disabled: true,
  });
  await manager.removeMessage(Q, three!.uuid);
  await manager.setCustomAttributes(Q, { color: 'blue' });
  await manager.updateLastMessageProcessed(Q, { uuid: one!.uuid });
  await manager.pauseQueue(Q);
  await manager.resumeQueue(Q);
  await manager.getMessage(Q);
  // Its record says how far all this is on the device.
  await manager.addMessage(Q, { data: { n: 104 } });
  await manager.close();
}

/** A claim whose lease ends before its holder settles, found out by who waits for messages. */
async function lapse(manager: QueueManager, { clock }: Ports): Promise<void> {
  const { counts } = await manager.queueStatus(Q);
  const [claim] = await manager.claimMessages(Q, { limit: 1, lease: 1 });
  while ((await manager.queueStatus(Q)).counts.ready < counts.ready) {
    // Who waits looks at claims a few times a second.
    await new Promise<void>((resolve) => clock.timer(300, resolve));
    await manager.waitForMessage(Q, { timeout: 50 });
  }
  // It would be claimed alone from now on.
  await manager.updateMessage(Q, claim!.uuid, { disabled: true });
}

/** The kinds of records that a head has. */
export const HEAD_RECORDS = [
  'head',
  'segment',
  'runs',
  'touched',
  'carry',
  'registered',
  'outcomes',
  'damage',
  'ready',
];

/** Every kind of record that a head has, in the newest head. Something in an older segment has rotted: heads say that, too. */
export async function everyHeadRecord(specimen: Specimen, ports = nodePorts): Promise<void> {
  const { root } = specimen;
  await everyOperation(root, ports);
  let manager = await openManager(root, { segmentBytes: 1000, ports });
  await rotate(manager, specimen);
  await manager.close();
  const numbers = specimen.segments().at(-1)!;
  manager = await openManager(root, { ports });
  // So many runs of ended messages that one record is not enough for them.
  const many = await manager.addMessages(
    Q,
    Array.from({ length: 700 }, (_, i) => ({ data: i })),
  );
  for (const [i, { uuid }] of many.entries()) if (i % 2) await manager.removeMessage(Q, uuid);
  await manager.close();
  const victim = specimen.records(numbers).find(({ header }) => header['u'] === many[0]!.uuid);
  specimen.flip(numbers, victim!.end - 2);
  // Large segments: one with few messages is worth emptying into the next head.
  manager = await openManager(root, { ports });
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: { n: 105 } });
  await manager.close();
  const head = specimen.records(specimen.segments().at(-1)!);
  for (const op of HEAD_RECORDS)
    if (!head.some(({ header }) => header.op === op)) throw new Error(`no record ${op}`);
}
