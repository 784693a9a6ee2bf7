/** Rows of text with styles: what frames are made of, before any terminal is asked. The text is safe already. */
import { escapeControls } from '../../../src/errors.ts';
import { fit } from '../../layout.ts';
import { styled } from '../../output.ts';

type Style = 'bold' | 'dim' | 'red' | 'yellow';

/** Text as it is, or in a style. */
export type Span = string | readonly [style: Style, text: string];

export type Row = readonly Span[];

export function textOf(row: Row): string {
  return row.map((span) => (typeof span === 'string' ? span : span[1])).join('');
}

/** The row in at most `columns` columns; what was cut off leaves `…`. */
export function fitRow(row: Row, columns: number): Row {
  const text = textOf(row);
  const fitted = fit(text, columns);
  if (fitted === text) return row;
  const spans: Span[] = [];
  let left = fitted.length;
  for (const span of row) {
    if (left <= 0) break;
    const own = typeof span === 'string' ? span : span[1];
    // The last character of all is the `…`.
    const cut = own.length < left ? own : fitted.slice(-left);
    spans.push(typeof span === 'string' ? cut : [span[0], cut]);
    left -= cut.length;
  }
  return spans;
}

/** The row as stdout takes it: in styles where it has colours, else plain. */
export function paint(row: Row): string {
  return row.map((span) => (typeof span === 'string' ? span : styled(...span))).join('');
}

/** Text from outside on one row: every run of white space one blank, what could steer a terminal escaped. */
export function oneLine(text: string): string {
  return escapeControls(text.replace(/\s+/g, ' ').trim());
}
