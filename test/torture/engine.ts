/**
 * The program that the processes of the torture run: actor.ts with the engine, in one file, so that it starts as fast as
 * Node does. Made from the sources, and for a broken engine from sources that are changed on the way.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import type { Edit } from '../simulation/realm.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Resolves when the program has been written to `file`. Errors: a text to be replaced that is not in its file exactly once. */
export async function makeProgram(file: string, edits: readonly Edit[] = []): Promise<void> {
  const texts = edited(edits);
  const build = await rolldown({
    input: join(root, 'test/torture/actor.ts'),
    platform: 'node',
    transform: { target: 'es2023' },
    plugins: [{ name: 'edits', load: (id) => texts.get(id) ?? null }],
  });
  try {
    await build.write({ file, format: 'esm', comments: false });
  } finally {
    await build.close();
  }
}

/** The texts of the files that are changed, by their path. Errors: as of `makeProgram`. */
export function edited(edits: readonly Edit[]): Map<string, string> {
  const texts = new Map<string, string>();
  for (const { file, find, replace } of edits) {
    const path = join(root, file);
    const text = texts.get(path) ?? readFileSync(path, 'utf8');
    const found = text.split(find).length - 1;
    if (found !== 1) throw new Error(`${file}: expected this text once, found it ${found} times: ${find}`);
    texts.set(
      path,
      text.replace(find, () => replace),
    );
  }
  return texts;
}
