/** Reading JSON that anybody may have sent. */
import { LARGEST_BODY, tooLarge } from './admission.ts';
import { Refusal } from './refusal.ts';

/** Payloads nest 64 deep at most, below the body's own object. Deeper ones overflow the stacks of those who walk them. */
const DEEPEST = 70;

/** The value of a body, read up to its limit; undefined when it is empty. Throws a `Refusal`. */
export async function readJson(body: ReadableStream<Uint8Array> | null): Promise<unknown> {
  const bytes = await readAll(body);
  if (bytes.length === 0) return undefined;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Refusal(400, 'NOT_JSON', 'the body: expected UTF-8');
  }
  if (isDeep(text))
    throw new Refusal(400, 'NOT_JSON', `the body: expected at most ${DEEPEST} levels of nesting`);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Refusal(400, 'NOT_JSON', 'the body: expected JSON');
  }
}

async function readAll(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array> {
  if (!body) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let length = 0;
  // What breaks off is told to nobody any more.
  for await (const chunk of body) {
    length += chunk.length;
    if (length > LARGEST_BODY) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Whether brackets outside of strings nest too deep. */
function isDeep(text: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (quoted) {
      if (code === 0x5c) index++;
      else if (code === 0x22) quoted = false;
    } else if (code === 0x22) quoted = true;
    else if (code === 0x5b || code === 0x7b) {
      if (++depth > DEEPEST) return true;
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return false;
}
