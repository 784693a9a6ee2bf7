/** A daemon whose work is a batch of items from a source that is no queue of Coda: a table, a folder, a mailbox. */
import { QueueError, escapeControls } from '../errors.ts';
import { toTryError } from '../try-error.ts';
import { Daemon, type DaemonContext } from './daemon.ts';

/** Fetches what is waiting and handles one item after the other, once in each iteration. */
export abstract class QueueProcessor<Item = unknown> extends Daemon {
  /** What is waiting now, or a part of it, in order; none: an empty list. When it throws, the iteration has failed. */
  abstract loadItems(context: DaemonContext): Items<Item> | Promise<Items<Item>>;

  /**
   * Handles one item, and has its source know that it is not waiting any more. What it throws is logged, and the next item
   * is handled; the iteration has failed when no item of several, or the only one, could be handled. So one bad item
   * slows nobody down, and a source whose items all fail is not asked again at once.
   */
  abstract processActiveItem(item: Item, context: DaemonContext): Promise<void> | void;

  override async executeStart(context: DaemonContext): Promise<void> {
    let handled = 0;
    let failed = 0;
    let last: unknown;
    for await (const item of await this.loadItems(context)) {
      // The rest is still waiting at the source.
      if (context.stopping.aborted) return;
      try {
        await this.processActiveItem(item, context);
        handled++;
      } catch (error) {
        if (context.signal.aborted) throw error;
        failed++;
        last = error;
        const { message } = toTryError(error, 1, Date.now());
        this.log.error(`item ${handled + failed} failed: ${message}`);
      }
    }
    if (handled > 0 || failed === 0) return;
    const { message } = toTryError(last, 1, Date.now());
    const what = failed === 1 ? 'the only item' : `all ${failed} items`;
    throw new QueueError('DAEMON_FAILED', `${what} failed; the last one: ${escapeControls(message)}`, {
      cause: last,
    });
  }
}

type Items<Item> = Iterable<Item> | AsyncIterable<Item>;
