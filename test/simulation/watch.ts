/**
 * Has the handles of a process tell what they read. Runs inside the process's realm: who waits for an answer of the engine there must
 * be of the same.
 */
import { Log } from '../../src/cache/log.ts';
import type { QueueState } from '../../src/cache/state.ts';

export interface Watcher {
  /** Whenever a handle has applied records. */
  applied: (log: Log) => void;
  /** Before it reads on, in the segment in use; returns what is called when it has. */
  reading: (log: Log) => () => void;
  /** Before it looks through an older segment; returns what is called when it has. Undefined: nothing. */
  readingOlder: (log: Log, segment: number, state: QueueState) => (() => void) | undefined;
  /** Before it goes on in another segment, of which it has read the head. */
  entering: (log: Log) => void;
}

let watched = false;

export function watchLogs(engine: { watcher: Watcher }): void {
  if (watched) return;
  watched = true;
  const { prototype } = Log;
  // oxlint-disable-next-line typescript/unbound-method -- each is called with the handle that it was called on
  const { step, applyBatch, enter, readTable } = prototype;
  prototype.step = function (this: Log): boolean {
    const read = engine.watcher.reading(this);
    const done = step.call(this);
    read();
    engine.watcher.applied(this);
    return done;
  };
  prototype.applyBatch = function (this: Log): boolean {
    const done = applyBatch.call(this);
    if (done) engine.watcher.applied(this);
    return done;
  };
  prototype.enter = function (this: Log, fd: number, headEnd: number): void {
    engine.watcher.entering(this);
    enter.call(this, fd, headEnd);
  };
  prototype.readTable = function (this: Log, table, state = this.state): Promise<void> {
    const read = engine.watcher.readingOlder(this, table.segment, state);
    const reading = readTable.call(this, table, state);
    // What goes on when it has been read must be of this realm, too.
    return read ? reading.then(() => read()) : reading;
  };
}
