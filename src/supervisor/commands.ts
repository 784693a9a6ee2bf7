/** Which commands a process has: the methods `command<Name>` of its class, and of those that it extends. */
import { QueueError, quote } from '../errors.ts';
import type { Json } from '../message.ts';
import { nearest } from '../suggest.ts';

const METHOD = /^command([A-Z][A-Za-z0-9]*)$/;
const COMMAND = /^[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*$/;

export class Commands {
  readonly #instance: object;
  /** Of its own: nothing that objects have anyway is ever called, whatever it is asked for. */
  readonly #methods: ReadonlySet<string>;

  constructor(instance: object) {
    this.#instance = instance;
    this.#methods = new Set(methodsOf(instance));
  }

  /** As they are asked for: `status`, `reload-cache`. */
  get names(): string[] {
    return [...this.#methods].map((method) => nameOf(method)).sort();
  }

  /** Resolves with what the command returns; rejects with what it throws. Errors: UNKNOWN_COMMAND, naming those there are. */
  async call(name: string, args: Json): Promise<unknown> {
    const method = methodOf(name);
    if (method === undefined || !this.#methods.has(method)) throw this.#unknown(name);
    const command = (this.#instance as Record<string, (args: Json) => unknown>)[method];
    return command?.call(this.#instance, args);
  }

  #unknown(name: string): QueueError {
    const { names } = this;
    const near = nearest(name, names);
    const known = names.length === 0 ? 'it has none' : `known: ${names.join(', ')}`;
    const hint = near === undefined ? known : `did you mean ${near}? ${known}`;
    return new QueueError('UNKNOWN_COMMAND', `no command ${quote(name)}; ${hint}`);
  }
}

/** Undefined of a name that no command can have. */
function methodOf(name: string): string | undefined {
  if (!COMMAND.test(name) || name.length > 100) return undefined;
  const words = name.split('-').map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `command${words.join('')}`;
}

/** `commandReloadHTTPCache` → `reload-http-cache`, if that leads back to it; else as it is written, which does. */
function nameOf(method: string): string {
  const written = method.slice('command'.length);
  const name = written.replace(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, '-').toLowerCase();
  return methodOf(name) === method ? name : written;
}

function methodsOf(instance: object): string[] {
  const methods = new Set<string>();
  let at: unknown = instance;
  while (typeof at === 'object' && at !== null && at !== Object.prototype) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at)))
      if (METHOD.test(name) && typeof value === 'function') methods.add(name);
    at = Object.getPrototypeOf(at);
  }
  return [...methods];
}
