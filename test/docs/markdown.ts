/** As much of Markdown as the documents here use: headings, fenced and indented blocks, links. */

export interface Block {
  /** The first word behind the fence, '' for none and for indented blocks. */
  language: string;
  /** The other words there: a file's name, or a remark. */
  info: string;
  /** With a newline at its end. */
  text: string;
  /** Of the fence, from 1. */
  line: number;
  isIndented: boolean;
}

export interface Section {
  /** '' for what stands above the first heading of its level. */
  title: string;
  blocks: Block[];
  /** What is not in blocks. */
  prose: string;
}

/** Splits a document at its headings of the second level. */
export function sectionsOf(document: string): Section[] {
  const sections: Section[] = [{ title: '', blocks: [], prose: '' }];
  let open: Block | undefined;
  let inList = false;
  for (const [index, line] of document.split('\n').entries()) {
    const section = sections.at(-1)!;
    const [, fence, language = '', info = ''] = /^(```)(\w*)\s*(.*)$/.exec(line) ?? [];
    if (open && !open.isIndented) {
      if (fence) open = undefined;
      else open.text += `${line}\n`;
      continue;
    }
    const isIndented = line.startsWith('    ') && !inList;
    if (open && (isIndented || line === '')) {
      open.text += `${line.slice(4)}\n`;
      continue;
    }
    open = undefined;
    if (fence || isIndented) {
      const text = isIndented ? `${line.slice(4)}\n` : '';
      open = { language, info, text, line: index + 1, isIndented };
      section.blocks.push(open);
    } else if (line.startsWith('## ')) sections.push({ title: line.slice(3), blocks: [], prose: '' });
    else {
      section.prose += `${line}\n`;
      // Indented lines below an item of a list belong to it.
      if (line !== '') inList = /^([-*]|\d+\.) /.test(line) || (inList && line.startsWith(' '));
    }
  }
  if (open && !open.isIndented) throw new Error(`the block of line ${open.line} has no end`);
  return sections;
}

/** The anchors that GitHub gives a document's headings. */
export function anchorsOf(document: string): string[] {
  return [...proseOf(document).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => {
    const plain = title.toLowerCase().replace(/[^\p{L}\p{N}\- _]/gu, '');
    return plain.replaceAll(' ', '-');
  });
}

/** Targets of links, with the text in them. */
export function linksOf(document: string): string[] {
  return [...proseOf(document).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
}

/** What stands between backticks. */
export function codeSpansOf(document: string): string[] {
  return [...proseOf(document).matchAll(/`([^`]+)`/g)].map(([, code = '']) => code.replace(/\s+/g, ' '));
}

/** Headings included. */
function proseOf(document: string): string {
  return sectionsOf(document)
    .map(({ title, prose }) => (title === '' ? prose : `## ${title}\n${prose}`))
    .join('');
}
