/** `queue watch` on a terminal: looks, draws, does what keys ask for, until it is told to end. */
import { performance } from 'node:perf_hooks';
import { QueueError } from '../../../src/errors.ts';
import type { QueueStatus } from '../../../src/backend.ts';
import type { QueueManager } from '../../../src/queue-manager.ts';
import { counted, isRead } from '../../output.ts';
import { frame } from './frame.ts';
import { paint } from './row.ts';
import { Screen } from './screen.ts';
import { lookAround, NOTHING_FOUND, type Found } from './sight.ts';
import { Trend } from './trend.ts';
import { FIRST_VIEW, press, settled, type Deed, type Key, type View, type Wish } from './view.ts';

const ENDS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
/** To find messages in a long queue takes time: no more than one part in so many goes into it. */
const SHARE = 5;

/**
 * Resolves when a key or a signal has ended it, with the terminal as it was; a look may still be under way then. A queue
 * that is destroyed meanwhile is waited for. Rejects with what is no `QueueError`.
 * @param interval milliseconds between two looks.
 */
export function watchLive(manager: QueueManager, queue: string, interval: number): Promise<void> {
  return new Live(manager, queue, interval).run();
}

class Live {
  readonly #manager: QueueManager;
  readonly #queue: string;
  readonly #interval: number;
  readonly #screen: Screen;
  readonly #over: Promise<void>;
  #end!: () => void;
  /** Ends it with a defect. */
  #fail!: (error: unknown) => void;
  #ended = false;
  /** Wakes the loop before its time. */
  #wake: () => void = () => undefined;

  #status: QueueStatus | undefined;
  #found: Found = NOTHING_FOUND;
  #trend = new Trend();
  #view: View = FIRST_VIEW;
  #trouble = '';
  #searching = false;
  /** Monotonic milliseconds. */
  #searchAgainAt = 0;

  constructor(manager: QueueManager, queue: string, interval: number) {
    this.#manager = manager;
    this.#queue = queue;
    this.#interval = interval;
    this.#over = new Promise((resolve, reject) => {
      this.#end = resolve;
      this.#fail = reject;
    });
    this.#screen = new Screen({
      key: (key) => this.#guarded(() => this.#pressed(key)),
      spoilt: () => this.#guarded(() => this.#draw()),
      gone: () => this.#end(),
    });
  }

  async run(): Promise<void> {
    const end = (): void => this.#end();
    for (const signal of ENDS) process.on(signal, end);
    try {
      this.#screen.open();
      // Whoever quits does not wait for a store that hangs.
      await Promise.race([this.#loop(), this.#over]);
    } finally {
      this.#ended = true;
      this.#wake();
      this.#screen.close();
      for (const signal of ENDS) process.off(signal, end);
    }
  }

  async #loop(): Promise<void> {
    while (!this.#ended && isRead()) {
      await this.#look();
      this.#draw();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#interval);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #look(): Promise<void> {
    try {
      const status = await this.#manager.queueStatus(this.#queue);
      this.#status = status;
      this.#trouble = '';
      this.#trend.add(performance.now(), status);
      this.#found = onlyCounted(this.#found, status);
      if (!this.#searching && performance.now() >= this.#searchAgainAt) void this.#search(status);
    } catch (error) {
      this.#refused(error);
    }
  }

  /** Beside the loop: the counts are fresh, however long this takes. */
  async #search(status: QueueStatus): Promise<void> {
    const begun = performance.now();
    this.#searching = true;
    try {
      const found = await lookAround(this.#manager, status);
      const now = this.#status;
      if (now?.createdAt.getTime() === status.createdAt.getTime()) this.#found = onlyCounted(found, now);
    } catch (error) {
      this.#refused(error);
    }
    this.#searching = false;
    this.#searchAgainAt = begun + (performance.now() - begun) * SHARE;
    this.#guarded(() => this.#draw());
  }

  #refused(error: unknown): void {
    if (this.#ended) return;
    if (!(error instanceof QueueError)) this.#fail(error);
    else if (error.code === 'QUEUE_NOT_FOUND' || error.code === 'QUEUE_DESTROYED') {
      this.#status = undefined;
      this.#found = NOTHING_FOUND;
      this.#trouble = '';
    } else this.#trouble = `${error.message} (${error.code})`;
  }

  #draw(): void {
    if (this.#ended) return;
    this.#view = settled(this.#view, this.#found);
    const scene = {
      queue: this.#queue,
      status: this.#status,
      found: this.#found,
      trend: this.#trend,
      view: this.#view,
      trouble: this.#trouble,
      keys: this.#screen.hasKeys,
      now: Date.now(),
    };
    this.#screen.draw(frame(scene, this.#screen.size).map(paint));
  }

  #pressed(key: Key): void {
    const { paused = false, counts } = this.#status ?? {};
    const present = counts && { paused, failed: counts.failed, found: this.#found };
    const { view, wish } = press(this.#view, key, present);
    this.#view = view;
    if (wish) this.#grant(wish);
    this.#draw();
  }

  #grant(wish: Wish): void {
    switch (wish.type) {
      case 'quit':
        return this.#end();
      case 'suspend':
        return this.#screen.suspend();
      case 'redraw':
        return this.#screen.forget();
      default:
        void this.#do(wish);
    }
  }

  async #do(deed: Deed): Promise<void> {
    let notice: string;
    try {
      notice = await perform(this.#manager, this.#queue, deed);
    } catch (error) {
      if (!(error instanceof QueueError)) return this.#fail(error);
      notice = `${error.message} (${error.code})`;
    }
    this.#view = { ...this.#view, notice };
    this.#searchAgainAt = 0;
    this.#wake();
  }

  /** For what the terminal calls: there is nobody to catch what it throws. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#fail(error);
    }
  }
}

/** What the last search found, but for what is not there any more by newer counts. */
function onlyCounted({ waitingSince, working, failed, unreadable }: Found, { counts }: QueueStatus): Found {
  return {
    waitingSince: counts.ready === 0 ? undefined : waitingSince,
    working: counts.claimed === 0 ? [] : working,
    failed: counts.failed === 0 ? [] : failed,
    unreadable: Math.min(counts.failed, unreadable),
  };
}

/** What was done, in words. */
async function perform(manager: QueueManager, queue: string, deed: Deed): Promise<string> {
  switch (deed.type) {
    case 'pause':
      await manager.pauseQueue(queue);
      return 'paused; p resumes';
    case 'resume':
      await manager.resumeQueue(queue);
      return 'resumed';
    case 'retry':
      return (await manager.retryMessages(queue, [deed.uuid])) > 0
        ? `${deed.name} is back in line`
        : `${deed.name} is no longer among the failed`;
    case 'retry-all':
      return `${counted(await manager.retryMessages(queue, 'all'), 'message')} back in line`;
    case 'cancel':
      return (await manager.cancelMessage(queue, deed.uuid))
        ? `cancelled ${deed.name}`
        : `${deed.name} has ended meanwhile`;
  }
}
