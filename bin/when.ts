/** Points in time and durations as people read them; the units are those that flags take. */

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
] as const;

/** `350ms`, `12s`, `3m 20s`, `2h 5m`, `4d 3h`, `400d`: the two largest units, as far as they tell anything. */
export function lasting(milliseconds: number): string {
  const whole = Math.max(0, Math.round(milliseconds));
  if (whole < 1000) return `${whole}ms`;
  const first = UNITS.findIndex(([, length]) => whole >= length);
  const [unit, length] = UNITS[first] ?? ['s', 1000];
  const count = Math.floor(whole / length);
  const [lesser, lesserLength] = UNITS[first + 1] ?? [];
  const rest = lesserLength === undefined ? 0 : Math.floor((whole % length) / lesserLength);
  // Beyond ten the lesser unit says little.
  return rest === 0 || count >= 10 ? `${count}${unit}` : `${count}${unit} ${rest}${lesser}`;
}

/** `3m ago`, `in 2h`, `now` within half a second: rounded to the largest unit. */
export function fromNow(date: Date, now = Date.now()): string {
  const distance = date.getTime() - now;
  const length = Math.abs(distance);
  if (length < 500) return 'now';
  // 59.7 s are a minute: what counts is where the next smaller unit rounds to.
  const [unit, whole] = UNITS.find(([, whole], index) => {
    const lesser = UNITS[index + 1]?.[1] ?? 1;
    return Math.round(length / lesser) * lesser >= whole;
  }) ?? ['s', 1000];
  const rounded = `${Math.max(1, Math.round(length / whole))}${unit}`;
  return distance > 0 ? `in ${rounded}` : `${rounded} ago`;
}

/** `2026-12-24 18:00:05+01:00`: local time, and what that is; flags that take a date take it as it is. */
export function stamp(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const offset = -date.getTimezoneOffset();
  const zone =
    offset === 0
      ? 'Z'
      : `${offset > 0 ? '+' : '-'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}${zone}`;
}
