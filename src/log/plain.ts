/**
 * What a line of the log holds, made of whatever a worker or a message brought along: getters and proxies that throw, cycles, depth,
 * values that JSON does not know. The result is plain JSON of a bounded size, without secrets, and making it never throws.
 */
import type { Json } from '../message.ts';
import { toTryError } from '../try-error.ts';
import { REDACTED, type Redaction } from './redaction.ts';

/** Characters of one text, and of all texts in the fields of one line together. */
const LONGEST_TEXT = 1024 * 1024;
const LONGEST_NAME = 200;
const DEEPEST = 10;
/** Values in the fields of one line. */
const MOST_VALUES = 1000;

/** The line's own: a field of such a name gets a _ behind it. */
const OWN: ReadonlySet<string> = new Set(['time', 'level', 'text']);

export function plainText(text: unknown, redaction: Redaction): string {
  if (typeof text === 'string') return cut(text, LONGEST_TEXT, redaction);
  // A worker in JavaScript.
  const copy = new Copy(redaction).of(text);
  return typeof copy === 'string' ? copy : (JSON.stringify(copy) ?? 'undefined');
}

export function plainFields(fields: unknown, redaction: Redaction): Record<string, Json> {
  const copy = new Copy(redaction).of(fields);
  const plain = record();
  if (typeof copy !== 'object' || copy === null || Array.isArray(copy)) {
    if (copy !== undefined && copy !== null) plain['fields'] = copy;
    return plain;
  }
  for (const [name, value] of Object.entries(copy)) plain[OWN.has(name) ? `${name}_` : name] = value;
  return plain;
}

class Copy {
  readonly #redaction: Redaction;
  #values = MOST_VALUES;
  #characters = LONGEST_TEXT;
  /** Those that the value at hand lies in. */
  readonly #around: object[] = [];
  readonly #names: string[] = [];

  constructor(redaction: Redaction) {
    this.#redaction = redaction;
  }

  /** Undefined: JSON has nothing for it, and it is left out. */
  of(value: unknown): Json | undefined {
    try {
      return this.#of(value);
    } catch {
      return '[unreadable]';
    }
  }

  #of(value: unknown): Json | undefined {
    switch (typeof value) {
      case 'undefined':
        return undefined;
      case 'boolean':
        return value;
      case 'number':
        return Number.isFinite(value) && this.#redaction.clean(String(value)) === String(value)
          ? value
          : this.#text(String(value));
      case 'string':
        return this.#text(value);
      case 'object':
        return value === null ? null : this.#object(value);
      case 'function':
        return '[function]';
      case 'bigint':
      case 'symbol':
        return this.#text(String(value));
    }
  }

  #text(text: string): string {
    const kept = cut(text, this.#characters, this.#redaction);
    this.#characters = Math.max(0, this.#characters - kept.length);
    return kept;
  }

  #object(value: object): Json | undefined {
    if (this.#around.includes(value)) return '[circular]';
    if (this.#around.length >= DEEPEST) return '[too deep]';
    this.#around.push(value);
    try {
      return this.#contents(value);
    } finally {
      this.#around.pop();
    }
  }

  #contents(value: object): Json | undefined {
    if (value instanceof Error) {
      const { name, message, code, stack } = toTryError(value, 1, 0);
      return this.#record({ name, message, code, stack });
    }
    if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
    if (Array.isArray(value)) return this.#list(value);
    const { toJSON } = value as { toJSON?: unknown };
    // As JSON.stringify does: dates, URLs.
    return typeof toJSON === 'function' ? this.of(toJSON.call(value, '')) : this.#record(value);
  }

  #list(list: readonly unknown[]): Json[] {
    const copies: Json[] = [];
    for (let i = 0; i < list.length; i++) {
      if (this.#values-- <= 0) {
        copies.push(`[${list.length - i} more]`);
        break;
      }
      copies.push(this.of(list[i]) ?? null);
    }
    return copies;
  }

  #record(value: object): Record<string, Json> {
    const copy = record();
    const names = Object.keys(value);
    for (const [i, name] of names.entries()) {
      if (this.#values-- <= 0) {
        copy['…'] = `[${names.length - i} more]`;
        break;
      }
      this.#names.push(name);
      const of = this.#redaction.hides(this.#names) ? REDACTED : this.#field(value, name);
      this.#names.pop();
      if (of !== undefined) copy[cut(name, LONGEST_NAME, this.#redaction)] = of;
    }
    return copy;
  }

  #field(of: object, name: string): Json | undefined {
    try {
      return this.#of((of as Record<string, unknown>)[name]);
    } catch {
      return '[unreadable]';
    }
  }
}

/** Without a prototype: __proto__ is a name like any other. */
function record(): Record<string, Json> {
  return Object.create(null) as Record<string, Json>;
}

/** Secrets go first: half of one is one too. */
function cut(text: string, longest: number, redaction: Redaction): string {
  if (text.length <= longest) return redaction.clean(text);
  const kept = redaction.clean(text.slice(0, 2 * longest + LONGEST_NAME)).slice(0, longest);
  return `${kept}… [${text.length - kept.length} more characters]`;
}
