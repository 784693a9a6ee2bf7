/** `queue-daemon ctl`: what may be asked of a supervisor that runs. Its verbs are in ./ctl/. */
import type { Command } from 'commander';
import { changeCommands } from './ctl/changes.ts';
import { commandCommand } from './ctl/command.ts';
import { eventsCommand } from './ctl/events.ts';
import { statusCommand } from './ctl/status.ts';

const HELP = `
It speaks to the supervisor of this configuration, over its socket: [api] apiSocket, else supervisor.sock in [daemon]
stateDir. Exits with 69 when none is there. docs/control-api.md describes the same over HTTP.`;

export function ctlCommand(program: Command): void {
  const ctl = program
    .command('ctl')
    .description('ask the supervisor that runs: how its processes stand, to start, stop, add them')
    .addHelpText('after', HELP);
  for (const add of [statusCommand, changeCommands, commandCommand, eventsCommand]) add(ctl);
  ctl.helpCommand(true);
}
