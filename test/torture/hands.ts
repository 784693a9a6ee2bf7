/** What a process of the torture works with: a backend, its queues, and the diary that it keeps. */
import type { Backend, Queue } from '../../src/backend.ts';
import { QueueError } from '../../src/errors.ts';
import type { Diary } from './diary.ts';
import { ALIASES, FLEETING, type Ground, type Life } from './plan.ts';

/** What a process is told on its command line. */
export interface Assignment {
  /** Absent for the one that comes last, and looks at what is left. */
  life?: Life;
  ground: Ground;
  cacheRoot: string;
  diary: string;
}

export class Hands {
  readonly backend: Backend;
  readonly diary: Diary;
  readonly root: string;
  readonly ground: Ground;
  leaving = false;
  readonly #queues = new Map<string, Promise<Queue>>();

  constructor(backend: Backend, diary: Diary, { cacheRoot, ground }: Assignment) {
    this.backend = backend;
    this.diary = diary;
    this.root = cacheRoot;
    this.ground = ground;
  }

  /** The open queue; made where there is none. */
  queue(name: string): Promise<Queue> {
    const known = this.#queues.get(name);
    if (known) return known;
    const opening = this.#open(name);
    this.#queues.set(name, opening);
    return opening;
  }

  /** Opens it anew the next time. Whoever still uses the old handle may go on. */
  forget(name: string): void {
    this.#queues.delete(name);
  }

  /** Resolves when nothing is held open any more. */
  close(): Promise<void> {
    return this.backend.close();
  }

  /** Notes what nothing explains: only a queue that others destroy may be gone. */
  judge(error: unknown): void {
    const known = error instanceof QueueError ? error : undefined;
    const gone = known?.code === 'QUEUE_DESTROYED' || known?.code === 'QUEUE_NOT_FOUND';
    if (gone && (known.queue ?? FLEETING) === FLEETING) return;
    this.diary.mark({ mark: 'fault', text: error instanceof Error ? (error.stack ?? '') : String(error) });
    throw error;
  }

  async #open(name: string): Promise<Queue> {
    for (;;) {
      try {
        const options = name === ALIASES ? { uniqueAlias: true } : {};
        const made = (created: boolean): boolean => created;
        await this.diary.call('create', name, {}, () => this.backend.create(name, options), made);
        return await this.backend.open(name);
      } catch (error) {
        this.judge(error);
      }
    }
  }
}
