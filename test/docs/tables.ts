/** Chapters of a document, and the tables in them. */

export interface Chapter {
  /** As it stands behind the `#`s. */
  title: string;
  /** Up to the next heading, of whatever level. */
  text: string;
}

/** Splits a document at all its headings. What stands above the first is left out. */
export function chaptersOf(document: string): Chapter[] {
  const chapters: Chapter[] = [];
  let inBlock = false;
  for (const line of document.split('\n')) {
    if (line.startsWith('```')) inBlock = !inBlock;
    const [, title] = (inBlock ? undefined : /^#+ (.*)$/.exec(line)) ?? [];
    const last = chapters.at(-1);
    if (title !== undefined) chapters.push({ title, text: '' });
    else if (last) last.text += `${line}\n`;
  }
  return chapters;
}

/** The cells of all tables, without their headers. */
export function rowsOf(text: string): string[][] {
  const lines = text.split('\n');
  return lines.flatMap((line, index) => {
    const isBody = line.startsWith('|') && !isRule(line) && !isRule(lines[index + 1] ?? '');
    // `\|` is a bar in a cell.
    return isBody
      ? [
          line
            .split(/(?<!\\)\|/)
            .slice(1, -1)
            .map((cell) => cell.trim()),
        ]
      : [];
  });
}

/** What separates a header from the rows below. */
function isRule(line: string): boolean {
  return /^\|[-| :]+\|$/.test(line);
}
