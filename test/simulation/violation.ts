/** A promise that was not kept, and of which kind it was: a broken engine must be caught by what it breaks (`mutants.ts`). */
const KINDS = {
  lost: 'what was acknowledged is not there, or is as it was before a change that was acknowledged',
  undone: 'what had ended, or had been refused, is there',
  queue: 'a queue that was there is not found, or is created anew',
  twice: 'two hold a message at one time, or it is there twice',
  settle: 'a settle counts that came too late, or does not count that came in time',
  order: 'not the first in line was handed out, or what is found stands in another order',
  unripe: 'a message was handed out that may not run, or that of a paused queue',
  alias: 'two messages have one alias, or a message is called a duplicate that is none',
  data: 'a message holds what nobody has written',
  counts: 'what is counted is not what is there',
  damage: 'verify or repair raise an alarm where nothing is damaged, or say nothing of what was lost',
  silent: 'who has met rot does not say so, or it is forgotten',
  differ: 'two processes have read the same bytes and hold different states',
  reserve: 'the reserve for a full disk is not there',
  files: 'a process has left files open, or has changed them where it must not',
  refused: 'a call was refused, and nothing that had happened explains it',
  crash: 'an error that is no refusal',
  hang: 'a run does not come to its end',
} as const;

export type Kind = keyof typeof KINDS;

export class Violation extends Error {
  readonly kind: Kind;

  constructor(kind: Kind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** As it leaves a run. */
export interface Broken {
  kind: Kind;
  text: string;
}

/** One line: its kind first. */
export function inWords({ kind, text }: Broken): string {
  return `${kind}: ${text}`;
}
