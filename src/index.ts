/** What `coda-queue` exports. Nothing inside imports this file, and it loads nothing heavy. */
export { QueueManager } from './queue-manager.ts';
export type { AddedMessage, ClaimProof } from './queue-manager.ts';
export type { OpenOptions } from './manager-options.ts';
export type { AnyJobs, ManagerEvents, QueueName, SchemasOf } from './job-map.ts';
export type { InferInput, InferOutput, StandardSchema } from './standard-schema.ts';
export type { Listener } from './events.ts';
export type { MessageChanges, MessageInput } from './validate.ts';

export { QueueError } from './errors.ts';
export type { QueueErrorCode } from './errors.ts';

export type { Claim, Holder, Json, Message, Outcome, Progress, State, TryError } from './message.ts';
export type {
  Backend,
  Durability,
  Ending,
  HistoryEvent,
  Inspection,
  Loss,
  Mark,
  MessageFilter,
  QueueOptions,
  QueueStatus,
} from './backend.ts';

export { openMemory } from './memory/backend.ts';
export type { MemoryOptions, MemoryStore } from './memory/backend.ts';

export { FinalError, HandlerAborted, RetryAt, Worker } from './worker/worker.ts';
export type { AbortCode, StartContext, WorkerContext } from './worker/worker.ts';
export type { Log, LogFields } from './worker/log.ts';

export { Daemon } from './daemon/daemon.ts';
export type { DaemonContext, DaemonStop } from './daemon/daemon.ts';
export { QueueProcessor } from './daemon/queue-processor.ts';
export { addDaemon } from './daemon/registry.ts';

export { ManagedProcess } from './supervisor/managed-process.ts';
export { Supervisor } from './supervisor/supervisor.ts';
export type { SupervisorOptions } from './supervisor/fleet.ts';
export type { ProcessInput } from './supervisor/spec.ts';
export type {
  Answer,
  ChangeOptions,
  ChildState,
  ChildStatus,
  ProcessSpec,
  ProcessStatus,
  SendOptions,
  SupervisorControl,
  SupervisorEvent,
  SupervisorStatus,
} from './supervisor/shape.ts';

export type { ActionContext } from './api/action.ts';

export { CallServer } from './call/server.ts';
export type { CallServerOptions } from './call/server.ts';
export { CallMethod } from './call/method.ts';
export type { CallAddress, CallMethodClass } from './call/method.ts';
export type { CallLimits } from './call/listener.ts';
