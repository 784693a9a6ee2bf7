/** Text in columns: how wide it is on a terminal, and how it is made to fit. The text must be safe already. */

/** The columns of a terminal; undefined for anything else, where nothing need fit. */
export function columnsOf(stream: { isTTY?: boolean; columns?: number }): number | undefined {
  // A terminal that does not know its size says 0.
  return stream.isTTY === true ? stream.columns || 80 : undefined;
}

/** Columns that `text`, one line of it, takes. Where terminals differ (some emoji) it is the larger number. */
export function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemesOf(text)) width += widthOfOne(segment);
  return width;
}

/** `text` in at most `columns` columns; what was cut off leaves `…`. */
export function fit(text: string, columns: number): string {
  // A line of megabytes is not measured as a whole: no character is narrower than nothing, few are.
  if (text.length <= columns && ASCII.test(text)) return text;
  if (columns < 1) return '';
  let width = 0;
  /** Where the text ends if it has to be cut, with room for the `…`. */
  let cut = 0;
  for (const { segment, index } of graphemesOf(text.slice(0, columns * 8 + 64))) {
    if (width <= columns - 1) cut = index;
    width += widthOfOne(segment);
    if (width > columns) return `${text.slice(0, cut)}…`;
  }
  return text.length > columns * 8 + 64 ? `${text.slice(0, cut)}…` : text;
}

/** `text` in exactly `columns` columns. */
export function pad(text: string, columns: number): string {
  const fitted = fit(text, columns);
  return fitted + ' '.repeat(Math.max(0, columns - widthOf(fitted)));
}

/** A bar of `columns` columns, filled as far as `percent` of 100. */
export function bar(percent: number, columns: number): string {
  const cells = Math.max(0, columns - 2);
  const full = Math.floor((Math.min(100, Math.max(0, percent)) / 100) * cells);
  return `[${'#'.repeat(full)}${'.'.repeat(cells - full)}]`;
}

const ASCII = /^[\u0020-\u007e]*$/;
let segmenter: Intl.Segmenter | undefined;

/** Made when it is first needed: that takes a tenth of the time in which a command starts. */
function graphemesOf(text: string): Intl.Segments {
  segmenter ??= new Intl.Segmenter('en', { granularity: 'grapheme' });
  return segmenter.segment(text);
}

/** East Asian wide and fullwidth, by block (Unicode, EastAsianWidth.txt), and what is shown as a picture. */
const WIDE =
  /^[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{17000}-\u{18cff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;
/** A mark without a letter to stand on. */
const NARROWEST = /^\p{Mark}+$/u;

function widthOfOne(grapheme: string): number {
  if (WIDE.test(grapheme)) return 2;
  return NARROWEST.test(grapheme) ? 0 : 1;
}
