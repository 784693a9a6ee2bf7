/** Payloads as they are given on the command line. */
import { QueueError, escapeControls } from '../../src/errors.ts';
import type { Json } from '../../src/message.ts';

/**
 * The JSON in `text`, or on stdin for `-`, of which no more is read than a payload of `maxMessageBytes` can take.
 * Errors: INVALID_MESSAGE, MESSAGE_TOO_LARGE.
 */
export async function readPayload(text: string, maxMessageBytes: number): Promise<Json> {
  // Spelt with \u escapes throughout, text takes six times the room.
  return parse(text === '-' ? await readStdin(6 * maxMessageBytes) : text);
}

function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    const why = escapeControls((cause as Error).message);
    throw new QueueError(
      'INVALID_MESSAGE',
      `expected the payload as JSON (text in "double quotes"): ${why}`,
      { cause },
    );
  }
}

async function readStdin(longest: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > longest) {
      throw new QueueError(
        'MESSAGE_TOO_LARGE',
        `stdin: expected a payload of at most ${longest} bytes as JSON, received more`,
      );
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (cause) {
    throw new QueueError('INVALID_MESSAGE', 'stdin: expected JSON in UTF-8', { cause });
  }
}
