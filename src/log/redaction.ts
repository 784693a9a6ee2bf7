/**
 * What is never logged: the fields that [log] redact names, and the secrets of the configuration, in whatever text, field
 * or error they turn up.
 */
import type { Config } from '../config.ts';
import { SECTIONS } from '../config-keys.ts';
import { escapeControls } from '../errors.ts';

/** What stands in their place. */
export const REDACTED = '[redacted]';

/** A shorter secret protects nothing, and would be found in every other word. */
const SHORTEST = 4;
/** The path of a URL counts as a secret from here on: /hook is none, the path of a webhook is. */
const SHORTEST_PATH = 16;

export class Redaction {
  readonly #paths: readonly (readonly string[])[];
  readonly #secrets: RegExp | undefined;

  constructor(config: Config) {
    this.#paths = config.log.redact.map((path) => path.toLowerCase().split('.'));
    const forms = secretsOf(config)
      .flatMap(formsOf)
      .filter((form) => form.length >= SHORTEST)
      // Of two that begin alike, the longer one.
      .sort((a, b) => b.length - a.length);
    if (forms.length > 0) this.#secrets = new RegExp(forms.map(literally).join('|'), 'g');
  }

  /**
   * Whether the value of a field is hidden. A path is one that ends with what is configured; case does not count, * stands for
   * any one name.
   * @param names of the field, behind those of the fields that it lies in.
   */
  hides(names: readonly string[]): boolean {
    return this.#paths.some((path) => {
      const from = names.length - path.length;
      return from >= 0 && path.every((name, i) => name === '*' || name === names[from + i]?.toLowerCase());
    });
  }

  /** `text` without secrets. */
  clean(text: string): string {
    return this.#secrets === undefined ? text : text.replace(this.#secrets, REDACTED);
  }
}

function secretsOf(config: Config): string[] {
  return Object.entries(SECTIONS).flatMap(([section, keys]) => {
    const values = (config as unknown as Record<string, Record<string, unknown>>)[section] ?? {};
    return Object.entries(keys).flatMap(([name, { hidden }]) => {
      const value = values[name];
      return hidden && typeof value === 'string' && value !== '' ? [value] : [];
    });
  });
}

/** As what a secret may turn up: itself, its parts that are secrets too, and each as JSON and URLs write it. */
function formsOf(secret: string): string[] {
  const bare = secret.startsWith('whsec_') ? [secret.slice('whsec_'.length)] : [];
  const forms = [secret, ...bare, ...partsOfUrl(secret)];
  return forms.flatMap((form) => {
    const json = JSON.stringify(form).slice(1, -1);
    return [form, json, escapeControls(json), encodeURIComponent(form)];
  });
}

function partsOfUrl(text: string): string[] {
  if (!URL.canParse(text)) return [];
  const url = new URL(text);
  const { href, username, password, origin } = url;
  const path = url.pathname + url.search;
  const parts = [href, origin + path, password, decodeURIComponent(password)];
  if (path.length >= SHORTEST_PATH) parts.push(path);
  if (password !== '') {
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    parts.push(Buffer.from(credentials).toString('base64'));
  }
  return parts;
}

/** A regular expression that matches `text` and nothing else. */
function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
