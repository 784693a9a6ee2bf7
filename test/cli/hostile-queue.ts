/** A queue in which everything that comes from outside is hostile, and what else can be wrong with a folder of queues. */
import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { QueueManager } from '../../src/queue-manager.ts';

/** Colours, a link (OSC 8), the clipboard (OSC 52), C1, bidirectional overrides, a line that looks like ours, separators. */
export const HOSTILE =
  '\u001b[31m\u001b]8;;x:\u0007\u001b]52;c;aGk=\u0007\u009b2J\u202e\u2066\u0007\r\nqueue: done\u2028\ufeff\u007f\u{1f4a9}';
/** The same with what no argument of a command can have in it. */
const WORSE = `\u0000${HOSTILE}\ud800`;

/** Aliases of the messages there are. */
export const ALIAS = {
  ready: `ready ${HOSTILE}`,
  failed: `failed ${HOSTILE}`,
  disabled: `disabled ${HOSTILE}`,
  claimed: `claimed ${HOSTILE}`,
  completed: `completed ${HOSTILE}`,
};

export class HostileFolder {
  readonly #folder: string;
  readonly #manager: QueueManager;
  #copies = 0;

  /** The queue `mails` with messages in every state; `ruined`, whose journal is none any more; `sound`; workers; a file. */
  static async in(folder: string): Promise<HostileFolder> {
    const cacheRoot = join(folder, 'queues');
    // A worker that drains waits for the end of what is claimed, which nobody renews in a copy.
    const manager = await QueueManager.open({ cacheRoot, durability: 'os', lease: '2s' });
    const made = new HostileFolder(folder, manager);
    for (const queue of ['mails', 'ruined', 'sound']) await manager.createQueue(queue);
    await made.#fill();
    writeFileSync(join(folder, 'queues/ruined/00000001.journal'), `\u001b[31m${'x'.repeat(5000)}\n`);
    writeFileSync(join(folder, 'file'), '');
    writeFileSync(join(folder, 'unknown.ini'), `[queue]\ncacheRot = ${HOSTILE.replace(/\s/g, '')}\n`);
    writeFileSync(join(folder, 'bytes.ini'), Uint8Array.of(0x5b, 0xff, 0xfe));
    mkdirSync(join(folder, 'workers'));
    writeFileSync(join(folder, 'workers/mails.mjs'), WORKER);
    return made;
  }

  private constructor(folder: string, manager: QueueManager) {
    this.#folder = folder;
    this.#manager = manager;
  }

  /** The manager that holds what is claimed: open as long as that is to be. */
  get manager(): QueueManager {
    return this.#manager;
  }

  /** A folder of queues of one's own, with `mails` as it is in the first. */
  copy(): string {
    const copy = join(this.#folder, `copy-${++this.#copies}`);
    // The reserve is a megabyte of nothing.
    const filter = (path: string): boolean => !path.endsWith('/reserve');
    cpSync(join(this.#folder, 'queues/mails'), join(copy, 'mails'), { recursive: true, filter });
    return copy;
  }

  /** Every file there is with what is in it: two that are equal mean that nothing has changed. */
  contents(): Map<string, string> {
    const files = readdirSync(this.#folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== 'reserve')
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => !path.startsWith(join(this.#folder, 'copy-')))
      .sort();
    return new Map(files.map((path) => [path, readFileSync(path, 'latin1')]));
  }

  async close(): Promise<void> {
    await this.#manager.close();
  }

  async #fill(): Promise<void> {
    const manager = this.#manager;
    const data = { [HOSTILE]: [WORSE, { toString: HOSTILE }] };
    const username = WORSE;
    for (const alias of [ALIAS.completed, ALIAS.failed, ALIAS.claimed]) {
      await manager.addMessage('mails', { data, alias, username });
    }
    const [done, bad, held] = await manager.claimMessages('mails', { limit: 3 });
    if (!done || !bad || !held) throw new Error('expected three claims');
    await manager.completeMessage('mails', done);
    const error = new Error(WORSE);
    error.name = HOSTILE;
    error.stack = `${HOSTILE}: ${WORSE}\n    at ${HOSTILE}`;
    await manager.failMessage('mails', bad, error, { final: true });
    await manager.reportProgress('mails', held, { percent: 50, text: WORSE });
    await manager.addMessage('mails', { data, alias: ALIAS.ready, username });
    await manager.addMessage('mails', { data, alias: ALIAS.disabled, username, disabled: true });
    await manager.addMessage('mails', {
      data,
      alias: WORSE,
      dateTimeDeferredExecution: new Date('2099-01-01T00:00:00Z'),
    });
    const { uuid } = await manager.addMessage('mails', { data: HOSTILE.repeat(25_000), alias: WORSE });
    await manager.cancelMessage('mails', uuid, WORSE);
    await manager.setCustomAttributes('mails', { [HOSTILE]: WORSE });
  }
}

/** Logs and throws what is hostile; nothing fits its schema. */
const WORKER = `import { Worker } from 'coda-queue';
const HOSTILE = ${JSON.stringify(HOSTILE)};
export default class extends Worker {
  schema = { '~standard': { version: 1, vendor: HOSTILE, validate: () => ({ issues: [{ message: HOSTILE, path: [HOSTILE] }] }) } };
  async start({ log }) { log.warn(HOSTILE, { [HOSTILE]: HOSTILE }); }
  async process() {}
}`;
