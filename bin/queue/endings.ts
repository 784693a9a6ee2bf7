/** Waiting for messages to end, and what their endings make of the exit code. */
import { setMaxListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Ending } from '../../src/backend.ts';
import { escapeControls } from '../../src/errors.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { EXIT } from '../exit-codes.ts';
import { columnsOf, fit } from '../layout.ts';
import { counted, grouped, isRead, note, print, progress, safe, safeJson, styled } from '../output.ts';
import { fromNow, lasting } from '../when.ts';

/** Node's timers overflow beyond. */
export const LONGEST_TIMEOUT = 2 ** 31 - 1;

const REDRAW_MS = 200;

/** Fewer are waited for together with the next: far fewer than a queue remembers. */
const FEW = 500;
/** The wait for some is put off while so many times their number are ready. */
const FAR = 8;

/** Failed messages whose reason is looked up, and messages still waited for that are named, at most. */
const NAMED = 10;

export interface WaitOptions {
  /** Milliseconds from `done` on. */
  timeout?: number | undefined;
  json?: true | undefined;
  /** Those that have completed are only counted. */
  brief?: boolean;
}

export class Endings {
  readonly #manager: QueueManager;
  readonly #queue: string;
  readonly #options: WaitOptions;
  readonly #stop = new AbortController();
  readonly #open = new Set<string>();
  readonly #watches: Promise<void>[] = [];
  #unwatched: string[] = [];
  #completed = 0;
  #others = 0;
  #explained = 0;
  /** Endings are told only once nothing else is printed any more. */
  #quiet = true;
  readonly #untold: Ending[] = [];

  constructor(manager: QueueManager, queue: string, options: WaitOptions) {
    this.#manager = manager;
    this.#queue = queue;
    this.#options = options;
    // Every wait listens to it; Node takes more than ten for a leak.
    setMaxListeners(0, this.#stop.signal);
  }

  /**
   * Waits for these too. A queue remembers only its last outcomes, so whoever adds many must not begin to wait when the
   * last one is added. As each wait costs a look at the files, it is put off while many others are next in line. Resolves
   * when the wait has begun, or been put off.
   */
  async add(uuids: readonly string[]): Promise<void> {
    for (const uuid of uuids) {
      if (this.#open.has(uuid)) continue;
      this.#open.add(uuid);
      this.#unwatched.push(uuid);
    }
    if (this.#unwatched.length < FEW) return;
    const { ready } = (await this.#manager.queueStatus(this.#queue)).counts;
    if (ready > FAR * this.#unwatched.length) return;
    this.#watch();
    // It asks the queue how it stands in this turn of the event loop; what asks the same later is answered later.
    await nextTurn();
    await this.#manager.queueStatus(this.#queue);
  }

  /**
   * Tells the endings as they come. Resolves with the exit code: 0 when all have completed, 1 when one has ended otherwise,
   * 75 when none has, but the timeout came first. Errors: those of `waitForEndings`.
   */
  async done(): Promise<number> {
    const { timeout } = this.#options;
    this.#watch();
    this.#quiet = false;
    for (const ending of this.#untold.splice(0)) await this.#tell(ending);
    const timer = timeout === undefined ? undefined : setTimeout(() => this.#stop.abort(), timeout);
    // Not at every ending: there may be thousands a second.
    const ticker = setInterval(() => this.#showProgress(), REDRAW_MS);
    this.#showProgress();
    try {
      await Promise.all(this.#watches);
    } finally {
      clearTimeout(timer);
      clearInterval(ticker);
      this.#stop.abort();
      progress('');
    }
    if (this.#options.brief) this.#summarize();
    if (this.#open.size > 0) this.#nameOpen(timeout ?? 0);
    if (this.#others > 0) return EXIT.failure;
    return this.#open.size > 0 ? EXIT.tryAgain : EXIT.ok;
  }

  #watch(): void {
    if (this.#unwatched.length === 0) return;
    const watch = this.#follow(this.#unwatched);
    this.#unwatched = [];
    // Its rejection is met in `done`; until then it is no defect.
    watch.catch(() => undefined);
    this.#watches.push(watch);
  }

  async #follow(uuids: readonly string[]): Promise<void> {
    const { signal } = this.#stop;
    for await (const ending of this.#manager.waitForEndings(this.#queue, uuids, { signal })) {
      this.#open.delete(ending.uuid);
      if (ending.outcome === 'completed') this.#completed++;
      else this.#others++;
      if (this.#quiet) this.#untold.push(ending);
      else await this.#tell(ending);
    }
  }

  async #tell(ending: Ending): Promise<void> {
    const line = await this.#lineOf(ending);
    if (line === undefined || !isRead()) return;
    progress('');
    await print(line);
    this.#showProgress();
  }

  /** Undefined: it is only counted. */
  async #lineOf(ending: Ending): Promise<string | undefined> {
    const { uuid, alias, outcome, at } = ending;
    if (this.#options.json) return safeJson(ending);
    if (this.#options.brief && outcome === 'completed') return undefined;
    const facts = [
      outcome === 'completed' ? outcome : styled('red', outcome),
      uuid,
      alias !== '' && escapeControls(alias),
      at && styled('dim', fromNow(at)),
      await this.#reason(ending),
    ];
    return facts.filter((fact) => typeof fact === 'string').join('  ');
  }

  /** Why it failed, or what `unknown` means. */
  async #reason({ uuid, outcome }: Ending): Promise<string | undefined> {
    if (outcome === 'unknown') return 'not in the queue; how it ended is not remembered';
    if (outcome !== 'failed' || ++this.#explained > NAMED) return undefined;
    const error = (await this.#manager.findMessage(this.#queue, { uuid }))?.errors.at(-1);
    return error && fit(`${escapeControls(error.name)}: ${safe(error.message).replaceAll('\n', ' ')}`, 200);
  }

  #showProgress(): void {
    const columns = columnsOf(process.stderr);
    if (columns === undefined || this.#open.size === 0) return;
    const all = this.#open.size + this.#completed + this.#others;
    const text = all === 1 ? 'waiting' : `waiting for ${grouped(this.#open.size)} of ${grouped(all)}`;
    progress(fit(text, columns - 1));
  }

  #summarize(): void {
    const parts = [
      `${counted(this.#completed, 'message')} completed`,
      this.#others > 0 && `${grouped(this.#others)} not`,
      this.#open.size > 0 && `${grouped(this.#open.size)} not ended`,
    ];
    note(parts.filter((part) => part !== false).join(', '));
  }

  #nameOpen(timeout: number): void {
    const named = [...this.#open].slice(0, NAMED).join(', ');
    const more = this.#open.size > NAMED ? ` and ${grouped(this.#open.size - NAMED)} more` : '';
    note(`timed out after ${lasting(timeout)}; not ended: ${named}${more}`);
  }
}
