/** A configuration as environment variables, for processes that are to have the same one whatever becomes of the file. */
import { devNull } from 'node:os';
import type { Config } from './config.ts';
import { SECTIONS, variableOf, type Key } from './config-keys.ts';

/**
 * What makes a process that is started with these variables, and without flags, read exactly `config`: its values, absolute,
 * and no file. [daemon] is left out. Secrets are among them.
 */
export function environmentOf(config: Config): Record<string, string> {
  const variables: Record<string, string> = { CODA_CONFIG: devNull };
  for (const section of ['queue', 'worker', 'http', 'log'] as const) {
    for (const [name, key] of Object.entries(SECTIONS[section] ?? {}))
      variables[variableOf(name)] = textOf(key, (config[section] as Record<string, unknown>)[name]);
  }
  return variables;
}

/** As it would stand in a file. */
function textOf(key: Key<unknown>, value: unknown): string {
  if (typeof value !== 'number') return Array.isArray(value) ? value.join(', ') : String(value);
  const forms = [String(value), `${value}ms`, `0${value.toString(8)}`];
  return forms.find((form) => key.parse(form, '') === value) ?? key.fallback;
}
