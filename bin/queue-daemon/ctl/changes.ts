/** The verbs of `queue-daemon ctl` that change what runs. */
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { QueueError, quote } from '../../../src/errors.ts';
import { plainWordsOf } from '../../../src/worker/exec/words.ts';
import { whole } from '../../cli.ts';
import { counted } from '../../output.ts';
import { say, type Options } from '../daemons.ts';
import { Client, part } from './client.ts';
import { processOf, type Process } from './shapes.ts';

interface Changing extends Options {
  save?: true;
}

const MOST_INSTANCES = 512;
const SAVE = ['--save', 'keep the change beyond the end of the supervisor'] as const;
const JSON_FLAG = ['--json', 'print the process as JSON, as it stands afterwards'] as const;

const VERBS = {
  start: ['start a process, or one child such as mails#2', 'started'],
  stop: ['stop a process, or one child, and wait until it has ended', 'stopped'],
  restart: ['restart a process, one child after the other, or one child', 'restarted'],
  reset: ['forget the failures of a process, or of one child, and start what has failed', 'reset'],
} as const;

export function changeCommands(ctl: Command): void {
  for (const [verb, [description, done]] of Object.entries(VERBS)) {
    const declared = ctl.command(`${verb} <process>`).description(description);
    // The other two change nothing that could be kept.
    if (verb === 'start' || verb === 'stop') declared.option(...SAVE);
    declared
      .option(...JSON_FLAG)
      .addHelpText(
        'after',
        `\nExamples:\n  queue-daemon ctl ${verb} mails\n  queue-daemon ctl ${verb} 'mails#2'`,
      )
      .action(async (target: string, _: unknown, command: Command) => {
        const options = command.optsWithGlobals<Changing>();
        const client = await Client.of(options);
        const path = `/api/processes/${part(target)}/${verb}`;
        const after = processOf(await client.change('POST', path, saving(options)));
        await say(options.json, after, `${target}: ${done}${standing(after)}`);
      });
  }
  addCommand(ctl);
  removeCommand(ctl);
  scaleCommand(ctl);
}

function addCommand(ctl: Command): void {
  ctl
    .command('add <name> <settings...>')
    .description('add a process, and start it')
    .option(...SAVE)
    .option(...JSON_FLAG)
    .addHelpText(
      'after',
      `
Settings are key=value, with the keys of a section [process:NAME]: one of class, worker, daemon and exec, and what goes
with it. Paths count from here.

Examples:
  queue-daemon ctl add mails worker=mails instances=4
  queue-daemon ctl add camera class=./camera.ts params.url=rtsp://10.0.0.7 memoryLimit=200MiB --save
  queue-daemon ctl add tunnel exec='ssh -N -L 5432:db:5432 gate' restartLimit=0`,
    )
    .action(async (name: string, settings: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Changing>();
      const body = { ...inputOf(settings), name, ...saving(options) };
      const client = await Client.of(options);
      const after = processOf(await client.change('POST', '/api/processes', body));
      await say(options.json, after, `${name}: added${standing(after)}`);
    });
}

function removeCommand(ctl: Command): void {
  ctl
    .command('remove <process>')
    .description('stop a process, and forget it')
    .option(...SAVE)
    .addOption(new Option('--json', 'print what was done as JSON'))
    .addHelpText('after', '\nExample:\n  queue-daemon ctl remove mails --save')
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Changing>();
      const client = await Client.of(options);
      await client.change('DELETE', `/api/processes/${part(name)}${options.save ? '?save=true' : ''}`);
      await say(options.json, { name, removed: true }, `${name}: removed`);
    });
}

function scaleCommand(ctl: Command): void {
  ctl
    .command('scale <process>')
    .description('have more children of a process, or fewer')
    .argument('<instances>', 'how many', whole(0, MOST_INSTANCES))
    .option(...SAVE)
    .option(...JSON_FLAG)
    .addHelpText('after', '\nExample:\n  queue-daemon ctl scale mails 4')
    .action(async (name: string, instances: number, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Changing>();
      const client = await Client.of(options);
      const path = `/api/processes/${part(name)}/scale`;
      const after = processOf(await client.change('POST', path, { instances, ...saving(options) }));
      await say(
        options.json,
        after,
        `${name}: ${counted(after.wanted, 'child').replace('childs', 'children')} wanted${standing(after)}`,
      );
    });
}

function saving({ save }: Changing): { save?: true } {
  return save ? { save } : {};
}

/** `; running 3, waiting 1` */
function standing({ children }: Process): string {
  const counts = new Map<string, number>();
  for (const { state } of children) counts.set(state, (counts.get(state) ?? 0) + 1);
  const words = [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
  return words === '' ? '' : `; ${words}`;
}

/** What the supervisor is sent: `params.*` as one object, paths as seen from here. Errors: INVALID_ARGUMENT. */
function inputOf(settings: readonly string[]): Record<string, unknown> {
  const entries: [string, unknown][] = [];
  const params: [string, string][] = [];
  for (const setting of settings) {
    const sign = setting.indexOf('=');
    if (sign < 1) throw new QueueError('INVALID_ARGUMENT', `expected key=value, received ${quote(setting)}`);
    const key = setting.slice(0, sign);
    const value = setting.slice(sign + 1);
    const known = key.startsWith('params.') ? params : entries;
    const name = key.startsWith('params.') ? key.slice('params.'.length) : key;
    if (known.some(([other]) => other === name))
      throw new QueueError('INVALID_ARGUMENT', `${quote(key)}: expected once, received again`);
    known.push([name, known === entries ? seenFromHere(name, value) : value]);
  }
  // As own properties, whatever they are called.
  return Object.fromEntries(
    params.length > 0 ? [...entries, ['params', Object.fromEntries(params)]] : entries,
  );
}

function seenFromHere(key: string, value: string): unknown {
  if (key === 'class' && value !== '') return resolve(value);
  if (key !== 'exec') return value;
  const [program, ...args] = plainWordsOf(value);
  return [/[\\/]/.test(program) ? resolve(program) : program, ...args];
}
