/**
 * Answers of megabytes: how many are made at once, and how much of them waits in memory for clients to read. When it is too
 * much, the one that has waited longest is broken off: who reads is not the first for long.
 */
import type { ServerResponse } from 'node:http';

/** Characters; shorter ones are bounded well enough by the number of connections. */
const LARGE = 64 * 1024;
/** Bytes of all that wait together; one alone may be larger. */
const MOST_UNREAD = 64 * 1024 ** 2;
const MOST_MADE = 4;

export class UnreadAnswers {
  /** In the order in which they were given. */
  readonly #open = new Map<ServerResponse, number>();
  #bytes = 0;

  isLarge(text: string): boolean {
    return text.length > LARGE;
  }

  /** Ends the response with all of the text, which is forgotten once the system has it. */
  send(response: ServerResponse, status: number, headers: Record<string, string>, text: string): void {
    const body = Buffer.from(text);
    this.#open.set(response, body.length);
    this.#bytes += body.length;
    response.once('close', () => this.#forget(response));
    for (const [first] of this.#open) {
      if (this.#bytes <= MOST_UNREAD || first === response) break;
      this.#forget(first);
      first.destroy();
    }
    response.writeHead(status, { ...headers, 'Content-Length': String(body.length) }).end(body);
  }

  #forget(response: ServerResponse): void {
    this.#bytes -= this.#open.get(response) ?? 0;
    this.#open.delete(response);
  }
}

/** Has few things made at once; the others wait in the order in which they came. */
export class Makers {
  #atWork = 0;
  readonly #waiting: (() => void)[] = [];

  async make<T>(work: () => Promise<T>): Promise<T> {
    if (this.#atWork < MOST_MADE) this.#atWork++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      // Whoever is next takes over its place.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#atWork--;
    }
  }
}
