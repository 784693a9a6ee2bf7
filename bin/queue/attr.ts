import type { Command } from 'commander';
import { escapeControls, quote } from '../../src/errors.ts';
import type { Json } from '../../src/message.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { nearest } from '../../src/suggest.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { note, print, safe, safeJson, table } from '../output.ts';

type Options = CommonOptions & { json?: true };

const HELP = `
Without arguments all attributes are printed, with a key its value alone. A value is taken as JSON where it is JSON, as
text where it is not; null removes the key. Quote twice what is to be text all the same: version='"1.0"'.

Examples:
  queue attr invoices
  queue attr invoices owner=billing limits='{"perMinute": 60}'
  queue attr invoices owner
  queue attr invoices owner=null`;

export function attrCommand(program: Command): void {
  program
    .command('attr <queue> [attributes...]')
    .usage('[options] <queue> [key | key=value...]')
    .description('print or set the attributes that are kept with a queue')
    .option('--json', 'print as JSON: what was asked for, or all attributes after a change')
    .addHelpText('after', HELP)
    .action(async (queue: string, given: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const assignments = given.filter((text) => text.includes('='));
      const reads = given.length - assignments.length;
      if (reads > 1 || (reads === 1 && assignments.length > 0)) {
        command.error('error: expected nothing, one key to print, or key=value for each to set');
      }
      if (given.some((text) => text === '' || text.startsWith('='))) {
        command.error('error: expected a key before the =');
      }
      await withManager(options, async (manager) => {
        if (assignments.length > 0) await set(manager, queue, parse(assignments), options);
        else if (given[0] === undefined)
          await printAll(await manager.customAttributes(queue), queue, options);
        else await printOne(await manager.customAttributes(queue), given[0], queue, options);
      });
    });
}

/** Of a key that is given twice the last one counts. */
function parse(assignments: readonly string[]): Map<string, Json> {
  return new Map(
    assignments.map((text) => {
      const sign = text.indexOf('=');
      return [text.slice(0, sign), jsonOrText(text.slice(sign + 1))];
    }),
  );
}

function jsonOrText(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

async function set(
  manager: QueueManager,
  queue: string,
  patch: ReadonlyMap<string, Json>,
  { json }: Options,
): Promise<void> {
  const before = await manager.customAttributes(queue);
  // Not by assignment: a key may be named __proto__.
  await manager.setCustomAttributes(queue, Object.fromEntries(patch));
  if (json) {
    await print(safeJson(await manager.customAttributes(queue)));
    return;
  }
  for (const [key, value] of patch) {
    const was = Object.hasOwn(before, key) ? before[key] : undefined;
    if (value === null)
      await print(
        was === undefined ? `${escapeControls(key)} was not set` : `removed ${escapeControls(key)}`,
      );
    else {
      const same = JSON.stringify(was) === JSON.stringify(value);
      await print(
        same
          ? `${escapeControls(key)} was ${safeJson(value)} already`
          : `set ${escapeControls(key)} to ${safeJson(value)}`,
      );
    }
  }
}

async function printAll(attributes: Record<string, Json>, queue: string, { json }: Options): Promise<void> {
  if (json) return print(safeJson(attributes));
  const rows = Object.entries(attributes).map(([key, value]) => [key, safeJson(value)]);
  if (rows.length === 0) note(`${queue} has no attributes`);
  else for (const line of table(['attribute', 'value'], rows)) await print(line);
}

async function printOne(
  attributes: Record<string, Json>,
  key: string,
  queue: string,
  { json }: Options,
): Promise<void> {
  const value = Object.hasOwn(attributes, key) ? attributes[key] : undefined;
  if (value !== undefined) {
    await print(typeof value === 'string' && !json ? safe(value) : safeJson(value));
    return;
  }
  const near = nearest(key, Object.keys(attributes));
  note(
    `${queue} has no attribute ${quote(key)}${near === undefined ? '' : `; did you mean ${quote(near)}?`}`,
  );
  process.exitCode = EXIT.failure;
}
