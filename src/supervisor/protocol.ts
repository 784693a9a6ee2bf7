/** What the supervisor and a child that runs a class say to each other. Each checks what it hears before it believes it. */
import type { Config } from '../config.ts';
import { LEVELS, type LogLevel } from '../config-keys.ts';
import type { Json } from '../message.ts';
import { encodePayload } from '../payload.ts';
import type { LogFields } from '../worker/log.ts';
import { LARGEST_MESSAGE } from './channel.ts';

/** Bytes of the data of an event that a child tells: the supervisor keeps the last ones. */
export const LARGEST_EVENT = 16 * 1024;
const LONGEST_NAME = 100;
/** Characters of an error's code and text. */
const LONGEST_CODE = 50;
const LONGEST_TEXT = 2000;

/** From the supervisor. */
export type Order =
  /** The first word: what the child is. */
  | { type: 'begin'; begin: Begin }
  | { type: 'stop' }
  /** To be answered. */
  | { type: 'command'; id: number; name: string; args: Json }
  | { type: 'verify'; id: number }
  /** Not to be answered. */
  | { type: 'tell'; name: string; args: Json };

export interface Begin {
  readonly name: string;
  readonly id: string;
  /** The path of its class. */
  readonly path: string;
  readonly params: Readonly<Record<string, Json>>;
  readonly config: Config;
  /** Milliseconds. */
  readonly stopDeadline: number;
  /** The pid of the supervisor. */
  readonly master: number;
}

export interface Trouble {
  readonly code: string;
  readonly message: string;
}

/** From the child. */
export type Told =
  /** Its class is loaded, and `run` is about to be called. `verifies`: it has a health check. */
  | { type: 'ready'; verifies: boolean }
  /** Why it is about to end. */
  | { type: 'failed'; error: Trouble }
  | { type: 'answer'; id: number; result: Json }
  | { type: 'answer'; id: number; error: Trouble }
  | { type: 'event'; event: string; data: Json }
  /** How far a worker is: for the parent of a crew; a supervisor has the queue to ask. */
  | { type: 'work' }
  | { type: 'log'; level: LogLevel; text: string; fields: LogFields };

/** What a child has told; undefined when that is nothing a child tells. */
export function toTold(message: unknown): Told | undefined {
  if (!isRecord(message)) return undefined;
  const { type, id } = message;
  switch (type) {
    case 'ready':
      return { type, verifies: message['verifies'] === true };
    case 'failed':
      return { type, error: toTrouble(message['error']) };
    case 'answer':
      if (typeof id !== 'number') return undefined;
      if (message['error'] !== undefined) return { type, id, error: toTrouble(message['error']) };
      return isPlain(message['result'], LARGEST_MESSAGE)
        ? { type, id, result: message['result'] }
        : { type, id, error: { code: 'COMMAND_FAILED', message: 'its answer is nested too deep' } };
    case 'event': {
      const { event, data } = message;
      return isEventName(event) && isPlain(data, LARGEST_EVENT) ? { type, event, data } : undefined;
    }
    case 'log': {
      const { level, text, fields } = message;
      if (!isLevel(level) || typeof text !== 'string' || !isRecord(fields)) return undefined;
      return isPlain(fields, LARGEST_MESSAGE) ? { type, level, text, fields } : undefined;
    }
    default:
      return undefined;
  }
}

/** Likewise of a worker: it runs as a member of a crew, whose parent is the supervisor (src/worker/crew/protocol.ts). */
export function toldByWorker(message: unknown): Told | undefined {
  if (!isRecord(message)) return undefined;
  switch (message['type']) {
    case 'ready':
      return { type: 'ready', verifies: false };
    case 'refused': {
      // It leaves with 0, for its parent knows.
      const why = `it cannot work: ${toTrouble(message['error']).message}`;
      return { type: 'failed', error: { code: 'PROCESS_FAILED', message: why } };
    }
    case 'moves':
    case 'counts':
    case 'report':
      return { type: 'work' };
    default:
      return undefined;
  }
}

/** Likewise of the supervisor. */
export function toOrder(message: unknown): Order | undefined {
  if (!isRecord(message)) return undefined;
  const { type, id, name, args } = message;
  switch (type) {
    case 'begin':
      return isRecord(message['begin']) ? { type, begin: message['begin'] as unknown as Begin } : undefined;
    case 'stop':
      return { type };
    case 'verify':
      return typeof id === 'number' ? { type, id } : undefined;
    case 'command':
      if (typeof id !== 'number' || typeof name !== 'string') return undefined;
      return { type, id, name, args: (args ?? null) as Json };
    case 'tell':
      return typeof name === 'string' ? { type, name, args: (args ?? null) as Json } : undefined;
    default:
      return undefined;
  }
}

export function isEventName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= LONGEST_NAME;
}

function isLevel(value: unknown): value is LogLevel {
  return value !== 'OFF' && LEVELS.some((level) => level === value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function toTrouble(error: unknown): Trouble {
  const { code, message } = isRecord(error) ? error : {};
  return {
    code: typeof code === 'string' ? code.slice(0, LONGEST_CODE) : 'COMMAND_FAILED',
    message: typeof message === 'string' ? message.slice(0, LONGEST_TEXT) : 'it has not said why',
  };
}

/** Whether others can make JSON of it again: what has been parsed may be nested deeper than that. */
function isPlain(value: unknown, maxBytes: number): value is Json {
  try {
    encodePayload(value, 'data', maxBytes);
    return true;
  } catch {
    return false;
  }
}
