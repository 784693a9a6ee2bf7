/** Turns of the event loop: what keeps everything else waiting for milliseconds has one to itself. */

let last: Promise<void> = Promise.resolve();

/** Resolves in a turn that nobody else is given, in the order of asking. Between two of them all that has come is attended to. */
export function ownTurn(): Promise<void> {
  last = last.then(nextTurn);
  return last;
}

/** Resolves in the next turn, with whoever else waits for it. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
