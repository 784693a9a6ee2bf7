/** Waiting for what becomes of a message, in tests that run producers and workers for real. */
import type { Ending } from '../backend.ts';
import { QueueError, quote } from '../errors.ts';
import type { AnyJobs, QueueName } from '../job-map.ts';
import type { Message, Outcome, State } from '../message.ts';
import type { QueueManager } from '../queue-manager.ts';

/** What others than this manager do to a message that lives is looked for this often; ms. */
const LOOK = 25;

/** What this manager may do to a message that lives. */
const CHANGES = ['claimed', 'failed', 'released', 'updated', 'retried'] as const;
const STATES: readonly unknown[] = ['ready', 'deferred', 'claimed', 'failed'] satisfies State[];
const OUTCOMES: readonly unknown[] = ['completed', 'removed', 'purged'] satisfies Outcome[];

/**
 * Resolves as soon as the message is in that state: with the message, or with undefined when it has ended so. Works with
 * any manager and any queue type. That a message ends or fails is noticed at once, whoever brings it about, in
 * whatever process, and so is what this very manager does. That it has become ready, deferred or claimed by another
 * manager's doing, or because its time has come, is looked for every 25 ms: a state that is over sooner may be missed.
 *
 *     const { uuid } = await queues.addMessage('mails', { data: { to: 'ada' } });
 *     await waitForState(queues, 'mails', uuid, 'completed', { signal: AbortSignal.timeout(5000) });
 *
 * Rejects with the signal's reason when it fires, and at once with MESSAGE_NOT_FOUND when there is nothing to wait for: the
 * message has ended in another way, or has failed (so that only a retry would bring it on), or never was there.
 * Errors: INVALID_ARGUMENT, and those of any method of the manager.
 */
export async function waitForState<
  Jobs extends object = AnyJobs,
  Q extends QueueName<Jobs> = QueueName<Jobs>,
>(
  manager: QueueManager<Jobs>,
  queue: Q,
  uuid: string,
  state: State | Outcome,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<Message<Jobs[Q]> | undefined> {
  if (!STATES.includes(state) && !OUTCOMES.includes(state)) {
    const names = [...STATES, ...OUTCOMES].join(', ');
    throw new QueueError('INVALID_ARGUMENT', `state: expected one of ${names}; received ${quote(state)}`, {
      queue,
    });
  }
  const { signal } = options;
  signal?.throwIfAborted();
  const over = new AbortController();
  const fire = (): void => over.abort();
  signal?.addEventListener('abort', fire, { once: true });
  // A process with nothing else to do would end before an `AbortSignal.timeout` fires.
  const alive = setInterval(() => undefined, 60_000);
  try {
    const wanted = { manager, queue, uuid, state };
    const ended = endingOf(wanted, over.signal);
    const passing = state === 'ready' || state === 'deferred' || state === 'claimed';
    const fired = new Promise<undefined>((resolve) => {
      over.signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    const first = await Promise.race([passing ? passes(wanted, over.signal) : fired, ended, fired]);
    signal?.throwIfAborted();
    if (first && 'state' in first) return first;
    if (first?.outcome !== state) throw await refusal(wanted, first);
    return state === 'failed' ? await manager.findMessage(queue, { uuid }) : undefined;
  } finally {
    clearInterval(alive);
    signal?.removeEventListener('abort', fire);
    over.abort();
  }
}

interface Wanted<Jobs extends object, Q extends QueueName<Jobs>> {
  manager: QueueManager<Jobs>;
  queue: Q;
  uuid: string;
  state: State | Outcome;
}

/** Undefined when the signal fires. */
async function endingOf<Jobs extends object, Q extends QueueName<Jobs>>(
  { manager, queue, uuid }: Wanted<Jobs, Q>,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  for await (const ending of manager.waitForEndings(queue, [uuid], { signal })) return ending;
  return undefined;
}

/** Resolves with the message once it is seen in that state; with undefined when the signal fires. */
function passes<Jobs extends object, Q extends QueueName<Jobs>>(
  { manager, queue, uuid, state }: Wanted<Jobs, Q>,
  signal: AbortSignal,
): Promise<Message<Jobs[Q]> | undefined> {
  return new Promise((resolve, reject) => {
    const seen = (message: Message<Jobs[Q]> | undefined): void => {
      if (message?.state === state) end(message);
    };
    const look = (): void => void manager.findMessage(queue, { uuid }).then(seen, reject);
    // Told before the claimer knows of it: it cannot be over yet.
    const unlisten = manager.on('claimed', ({ message: claim }) => {
      if (state !== 'claimed' || claim.uuid !== uuid) return;
      const { token: _, ...message } = claim;
      end(message as Message<Jobs[Q]>);
    });
    const stops = [unlisten, ...CHANGES.map((name) => manager.on(name, look))];
    const timer = setInterval(look, LOOK);
    const end = (message: Message<Jobs[Q]> | undefined): void => {
      clearInterval(timer);
      for (const stop of stops) stop();
      resolve(message);
    };
    signal.addEventListener('abort', () => end(undefined), { once: true });
    look();
  });
}

async function refusal<Jobs extends object, Q extends QueueName<Jobs>>(
  { manager, queue, uuid, state }: Wanted<Jobs, Q>,
  ending: Ending | undefined,
): Promise<QueueError> {
  const outcome = ending?.outcome ?? 'unknown';
  const message = outcome === 'failed' ? await manager.findMessage(queue, { uuid }) : undefined;
  const error = message?.errors.at(-1);
  const why = error === undefined ? '' : `: ${quote(error.message, 300)}`;
  const fate =
    outcome === 'unknown'
      ? 'is not in the queue, and nothing is known of it'
      : outcome === 'failed'
        ? 'has failed'
        : `was ${outcome}`;
  const text = `expected message ${quote(uuid)} to become ${state}, but it ${fate}${why}`;
  return new QueueError('MESSAGE_NOT_FOUND', text, { queue });
}
