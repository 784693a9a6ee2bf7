/** The books of the car park: a file for each car that has been there, with its last passage. */
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const BOOKS = fileURLToPath(new URL('./var/books', import.meta.url));

export interface Passage {
  plate: string;
  direction: 'in' | 'out';
  /** When it was read at the gate. */
  at: string;
}

/**
 * A message is delivered at least once, and with several workers not always in order: so a passage that is booked twice, or
 * is older than what stands there, changes nothing.
 */
export async function book(passage: Passage, key: string): Promise<void> {
  const file = fileOf(passage.plate);
  const before = await read(file);
  if (before && before.at >= passage.at) return;
  await mkdir(BOOKS, { recursive: true });
  // Readers never meet half a file.
  await writeFile(`${file}.${key}`, JSON.stringify(passage));
  await rename(`${file}.${key}`, file);
}

/** Undefined: it has never been here. */
export function lastOf(plate: string): Promise<Passage | undefined> {
  return read(fileOf(plate));
}

/** The plates of the cars that are inside. */
export async function inside(): Promise<string[]> {
  const names = await readdir(BOOKS).catch(() => []);
  const passages = await Promise.all(
    names.filter((name) => name.endsWith('.json')).map((name) => read(`${BOOKS}/${name}`)),
  );
  return passages
    .filter((passage) => passage?.direction === 'in')
    .map((passage) => passage!.plate)
    .sort();
}

function fileOf(plate: string): string {
  return `${BOOKS}/${encodeURIComponent(plate)}.json`;
}

async function read(file: string): Promise<Passage | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Passage;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
