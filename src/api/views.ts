/** What is shown of processes, queues and messages: all of it, but for paths, parameters and stacks. */
import { posix, win32 } from 'node:path';
import { QueueError, type QueueErrorCode } from '../errors.ts';
import type { Json, Message, TryError } from '../message.ts';
import type { QueueManager } from '../queue-manager.ts';
import type { QueueStatus } from '../backend.ts';
import type {
  Answer,
  ChildStatus,
  ProcessStatus,
  SupervisorEvent,
  SupervisorStatus,
} from '../supervisor/shape.ts';
import { bodyOf, refusalOf, withoutPaths, type ErrorBody } from './refusal.ts';

/** Parameters and arguments are left out: they may hold passwords. */
export function processView(
  { spec, origin, wanted, children }: ProcessStatus,
  answers?: ReadonlyMap<string, Answer>,
): object {
  return {
    name: spec.name,
    kind: spec.kind,
    target: lastPart(spec.target),
    origin,
    instances: spec.instances,
    wanted,
    autoscale: spec.autoscale ?? null,
    queue: spec.queue ?? null,
    concurrency: spec.concurrency ?? null,
    autostart: spec.autostart,
    children: children.map((child) => childView(child, answers?.get(child.id))),
  };
}

function childView(child: ChildStatus, answer: Answer | undefined): object {
  const { lastEnd } = child;
  return {
    id: child.id,
    state: child.state,
    pid: child.pid ?? null,
    startedAt: child.startedAt ?? null,
    restarts: child.restarts,
    failures: child.failures,
    lastEnd: lastEnd ? { at: lastEnd.at, why: withoutPaths(lastEnd.why), failed: lastEnd.failed } : null,
    nextStartAt: child.nextStartAt ?? null,
    memory: child.memory ?? null,
    healthy: child.healthy ?? null,
    ...(answer && { status: answer.ok ? { result: answer.result } : { error: errorView(answer.error) } }),
  };
}

export function masterView({ name, pid, startedAt, state }: SupervisorStatus): object {
  return { name, pid, startedAt, state };
}

/** A child that has no answer says why in its own words. */
export function answerView(answer: Answer): object {
  const { child } = answer;
  return answer.ok
    ? { child, ok: true, result: answer.result }
    : { child, ok: false, error: errorView(answer.error) };
}

function errorView({ code, message }: { code: string; message: string }): ErrorBody['error'] {
  return bodyOf(refusalOf(new QueueError(code as QueueErrorCode, message))).error;
}

export function eventView({ id, at, type, process, child, data }: SupervisorEvent): object {
  // What a child tells is its own affair, as its answers are.
  const shown = type === 'told' ? data : mapTexts(data, withoutPaths);
  return { id, at, type, process: process ?? null, child: child ?? null, data: shown };
}

function mapTexts(value: Json, change: (text: string) => string): Json {
  if (typeof value === 'string') return change(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((part) => mapTexts(part, change));
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, mapTexts(part, change)]));
}

export function messageView({ errors, ...message }: Message): object {
  const shown = (error: TryError): object => ({
    ...error,
    message: withoutPaths(error.message),
    stack: undefined,
  });
  return { ...message, errors: errors.map(shown) };
}

export type QueueView = QueueStatus | ({ queue: string } & ErrorBody);

/** All queues; one that cannot be read says so in its place. */
export async function readQueues(queues: QueueManager): Promise<QueueView[]> {
  const views: QueueView[] = [];
  for (const queue of await queues.listQueues()) {
    try {
      views.push(await queues.queueStatus(queue));
    } catch (error) {
      // Destroyed meanwhile.
      if (
        error instanceof QueueError &&
        (error.code === 'QUEUE_NOT_FOUND' || error.code === 'QUEUE_DESTROYED')
      )
        continue;
      views.push({ queue, ...bodyOf(refusalOf(error)) });
    }
  }
  return views;
}

/** A worker's type or a daemon's name has no slash in it, and stays as it is. */
function lastPart(target: string): string {
  return win32.basename(posix.basename(target));
}
