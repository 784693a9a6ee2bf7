/**
 * What a job map says of each queue's payloads, in types: `QueueManager<{ mails: Mail; hooks: Hook }>` takes no other
 * queue and no other data. Without a map any name and any JSON will do. Payloads come out as JSON leaves them: map
 * what is a Date on its way in to `string`.
 */
import type { Claim, Json, Message, TryError } from './message.ts';
import type { QueueError } from './errors.ts';
import type { StandardSchema } from './standard-schema.ts';

/** Queue name → payload, when nothing is said. */
export type AnyJobs = Record<string, Json>;

export type QueueName<Jobs extends object> = keyof Jobs & string;

/** Schemas for some or all queues of a map; where there is no map yet, one is inferred from them. What they take is what is stored. */
export type SchemasOf<Jobs extends object> = {
  readonly [Q in keyof Jobs]?: StandardSchema<Jobs[Q], unknown> | undefined;
};

/** What is done by this manager, told when it has happened, before the call that did it resolves. */
export type ManagerEvents<Jobs extends object = AnyJobs> = {
  created: OfQueue<Jobs>;
  destroyed: OfQueue<Jobs>;
  /** Not told of duplicates: they add nothing. */
  added: WithMessage<Jobs>;
  claimed: WithClaim<Jobs>;
  completed: OfMessage<Jobs>;
  /** `final`: no try is left, or none was wanted; else it is tried again, not before `retryAt`. */
  failed: OfMessage<Jobs> & { error: TryError; final: boolean; retryAt?: Date };
  /** Failed messages were put back in line. */
  retried: OfQueue<Jobs> & { count: number };
  released: OfMessage<Jobs>;
  taken: WithMessage<Jobs>;
  updated: WithMessage<Jobs>;
  cancelled: OfMessage<Jobs>;
  removed: OfMessage<Jobs>;
  purged: OfQueue<Jobs> & { count: number };
  paused: OfQueue<Jobs>;
  resumed: OfQueue<Jobs>;
  /** A call of this manager is about to reject with it. */
  error: { error: QueueError };
};

interface OfQueue<Jobs extends object> {
  queue: QueueName<Jobs>;
}

interface OfMessage<Jobs extends object> extends OfQueue<Jobs> {
  uuid: string;
}

type WithMessage<Jobs extends object> = {
  [Q in QueueName<Jobs>]: { queue: Q; message: Message<Jobs[Q]> };
}[QueueName<Jobs>];
type WithClaim<Jobs extends object> = {
  [Q in QueueName<Jobs>]: { queue: Q; message: Claim<Jobs[Q]> };
}[QueueName<Jobs>];
