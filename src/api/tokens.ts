/**
 * The tokens for TCP: 256 random bits each, in a file that only its owner reads, made at the first start. Who has the
 * first may do anything; who has the second may look.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { makeSmall, readSmall, removeSmall } from '../daemon/small-file.ts';
import { QueueError, quote } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';

export type Right = 'full' | 'read';

const FILES: Readonly<Record<Right, string>> = { full: 'api.token', read: 'api-read.token' };
/** 32 bytes in base64url. */
const TOKEN = /^[A-Za-z0-9_-]{43,512}$/;

export class Tokens {
  readonly #digests: readonly (readonly [Right, Buffer])[];

  private constructor(digests: readonly (readonly [Right, Buffer])[]) {
    this.#digests = digests;
  }

  /**
   * Reads the tokens in `folder`, which is made if absent, and makes those that are not there yet.
   * Errors: CONFIG_INVALID: a file of them is open to others, or holds no token; STORAGE_FAILED.
   */
  static open(folder: string): Tokens {
    const rights = Object.keys(FILES) as Right[];
    return new Tokens(rights.map((right) => [right, digestOf(read(join(folder, FILES[right])))] as const));
  }

  /** What who shows this token may do; undefined: it is none. Takes as long whatever was shown. */
  rightOf(shown: string): Right | undefined {
    const digest = digestOf(shown);
    let found: Right | undefined;
    for (const [right, expected] of this.#digests) if (timingSafeEqual(digest, expected)) found ??= right;
    return found;
  }
}

/** Digests are of one length, and tell nothing of how much of a token was right. */
function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function read(path: string): string {
  const token = (readSmall(path) ?? make(path)).trim();
  const { mode } = fs.statSync(path);
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    const found = (mode & 0o777).toString(8);
    throw invalid(path, `a file that its owner alone may read (mode 600), found mode ${found}`);
  }
  // Not quoted: it may be most of a token.
  if (!TOKEN.test(token))
    throw invalid(path, 'a token of 43 to 512 letters, digits, - and _, found something else');
  return token;
}

/** The token that is in the file afterwards, which appears there whole: made here, or by another at the same moment. */
function make(path: string): string {
  const draft = `${path}.${randomBytes(4).toString('hex')}`;
  try {
    makeFolder(dirname(path));
    makeSmall(draft, `${randomBytes(32).toString('base64url')}\n`, { synced: true });
    try {
      fs.linkSync(draft, path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    }
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new QueueError('STORAGE_FAILED', `the token at ${quote(path, 300)} cannot be made: ${why}`, {
      path,
      cause,
    });
  } finally {
    removeSmall(draft);
  }
  return readSmall(path) ?? '';
}

function invalid(path: string, expected: string): QueueError {
  return new QueueError(
    'CONFIG_INVALID',
    `expected at ${quote(path, 300)} ${expected}; remove it, and a new one is made`,
    { path },
  );
}
