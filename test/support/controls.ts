/**
 * The characters that may reach no terminal and no log as they are: C0, C1, DEL, bidirectional overrides, line separators and what
 * cannot be seen. The product's own list stands in src/errors.ts; this one is not made from it, so that each checks the other.
 */

/** For a text that is to be one line. */
export const CONTROLS =
  // oxlint-disable-next-line no-control-regex -- these are the characters it is for
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

/** For one that has lines. */
export const CONTROLS_IN_LINES =
  // oxlint-disable-next-line no-control-regex -- these are the characters it is for
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
