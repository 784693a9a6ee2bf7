/** A child's side of the talk with the process that measures: it says when it is ready, and waits to be told to go. */

export interface Parent {
  /** Says that everything is set up; resolves when all others are, too. */
  ready(): Promise<void>;
  /** Tells a number of some progress. */
  tell(progress: number): void;
  /** Resolves when the parent has seen enough. */
  readonly stopped: Promise<void>;
}

export type FromParent = 'go' | 'stop';

export type FromChild =
  | { type: 'ready' }
  | { type: 'progress'; progress: number }
  | { type: 'result'; result: unknown }
  | { type: 'error'; error: string };

/** Over the channel of `child_process.fork`. */
export function parentOfThisProcess(): Parent {
  const heard = (word: FromParent): Promise<void> =>
    new Promise((resolve) => {
      process.on('message', (message) => {
        if (message === word) resolve();
      });
    });
  const go = heard('go');
  return {
    stopped: heard('stop'),
    ready() {
      send({ type: 'ready' });
      return go;
    },
    tell(progress) {
      send({ type: 'progress', progress });
    },
  };
}

export function send(message: FromChild, sent: () => void = () => undefined): void {
  // A parent that is gone wants no answer.
  if (process.send && process.connected) process.send(message, undefined, undefined, sent);
  else sent();
}
