/** What the author of a controller sees; nothing of how it is called. */
import type { Json } from '../message.ts';
import type { QueueManager } from '../queue-manager.ts';
import type { SupervisorControl } from '../supervisor/shape.ts';
import type { Log } from '../worker/log.ts';

/** What an action gets: a method `action<Name>` of a controller. What it returns is the answer, as JSON. */
export interface ActionContext {
  /** What the API itself asks the supervisor by. */
  readonly control: SupervisorControl;
  readonly queues: QueueManager;
  readonly log: Log;
  readonly method: 'GET' | 'POST';
  readonly query: Readonly<Record<string, string>>;
  /** `{}` where there was none. */
  readonly body: Json;
  /** Fires when the client has gone, or has waited for as long as an action may take. */
  readonly signal: AbortSignal;
}
