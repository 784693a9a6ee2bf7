/** Durations and sizes as people write them: `50ms`, `10m`, `1.5h`, `16MiB`. Everything inside counts in ms and bytes. */

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1000,
  mb: 1000 ** 2,
  gb: 1000 ** 3,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
};

/**
 * Milliseconds, rounded; a plain number is milliseconds already. Text needs a unit (ms, s, m, h, d), except for `0`:
 * a bare `30` means seconds to one reader and milliseconds to the next. Undefined when it is no such thing.
 */
export function parseDuration(value: string | number): number | undefined {
  if (typeof value === 'number') return whole(value);
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(value.trim());
  if (!match) return value.trim() === '0' ? 0 : undefined;
  return whole(Number(match[1]) * (MILLISECONDS[match[2] ?? ''] ?? Number.NaN));
}

/** Bytes, rounded; a plain number, or text without a unit, is bytes already. Undefined when it is no such thing. */
export function parseSize(value: string | number): number | undefined {
  if (typeof value === 'number') return whole(value);
  const match = /^(\d+(?:\.\d+)?)\s*(b|[kmg]i?b)?$/i.exec(value.trim());
  return match ? whole(Number(match[1]) * (BYTES[(match[2] ?? 'b').toLowerCase()] ?? Number.NaN)) : undefined;
}

function whole(value: number): number | undefined {
  const rounded = Math.round(value);
  return Number.isSafeInteger(rounded) && rounded >= 0 ? rounded : undefined;
}
