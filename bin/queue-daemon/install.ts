import { Option, type Command } from 'commander';
import { checkDaemonName } from '../../src/daemon/name.ts';
import { install, stepsBack, stepsOf, uninstall, type Step } from '../../src/daemon/service/carry-out.ts';
import { checkAccount, runsSystemd } from '../../src/daemon/service/host.ts';
import { INITS, WORKERS, type Init } from '../../src/daemon/service/service.ts';
import { QueueError, escapeControls } from '../../src/errors.ts';
import { path } from '../cli.ts';
import { note, print, safe, safeJson, styled } from '../output.ts';
import { configOf, named, soundPartOf, warn as tellWrong } from './daemons.ts';
import { asked, type Asked, type ServiceOptions } from './service.ts';

type InstallOptions = ServiceOptions & { enable?: true };

export function installCommand(program: Command): void {
  common(
    program
      .command('install <daemon>')
      .description('make a service of the operating system of a daemon')
      .option('--user <account>', 'whom it runs as; default: the owner of the folder of the queues')
      .option('--enable', 'have it start now, and with the machine'),
  )
    .addHelpText(
      'after',
      `
It runs in the folder in which you are now, with the configuration that is in force here. What happens when it fails is
for [daemon] onFailure, recoveryDelay and resetPeriod to say. Installing again writes what has changed. "${WORKERS}" in the
place of a daemon makes a template for workers of systemd: coda-${WORKERS}<type>. For Windows, files are
written for WinSW and shawl, of which one must be there. A service that another installation has made, with its
configuration in another folder, is left alone: --name gives this one a name of its own.

Examples:
  queue-daemon install queue --dry-run
  sudo queue-daemon install queue --user coda --enable
  queue-daemon install reports --init systemd-user --enable`,
    )
    .action(async (name: string, _: unknown, command: Command) => {
      await installIt(name, command.optsWithGlobals<InstallOptions>());
    });
}

export function uninstallCommand(program: Command): void {
  common(
    program.command('uninstall <daemon>').description('stop and remove the service that "install" has made'),
  )
    .addHelpText(
      'after',
      `
The daemon's own files stay where they are. That nothing is installed is no failure. One that was installed under a
name of its own needs --name here too; one of another installation is removed there.

Example:
  sudo queue-daemon uninstall queue`,
    )
    .action(async (name: string, _: unknown, command: Command) => {
      await uninstallIt(name, command.optsWithGlobals<ServiceOptions>());
    });
}

function common(command: Command): Command {
  return command
    .addOption(
      new Option('--init <system>', 'what looks after services; default: what is found').choices(INITS),
    )
    .option('--name <name>', 'what the service is called, behind "coda-"; default: as the daemon')
    .option('--root <dir>', 'write below this folder, for a system that does not run now', path)
    .option('--dry-run', 'do nothing, and print all that would be done')
    .option('--json', 'print the steps as JSON');
}

async function installIt(name: string, options: InstallOptions): Promise<void> {
  const enable = options.enable === true;
  if (name === WORKERS && enable) {
    const hint = `systemctl enable --now coda-${options.name ?? 'worker'}@<type>`;
    throw new QueueError('INVALID_ARGUMENT', `--enable: a template is enabled worker by worker: ${hint}`);
  }
  const { config } = name === WORKERS ? { config: await configOf(options) } : await named(name, options);
  const it = asked(name, config, options);
  const { plan, root, warnings } = it;
  for (const warning of [...warnings, ...plan.unable]) warn(warning);
  const steps = stepsOf(plan, enable, { root });
  const tellSteps = (done: boolean): Promise<void> =>
    options.json ? print(safeJson(filesOf(steps))) : tell(steps, done);
  if (options.dryRun) {
    // It may be meant for another machine, so this is no reason to show nothing.
    if (RUNS[it.init]()) attempt(() => checkUser(it));
    return tellSteps(false);
  }
  refuseElsewhere(it);
  checkUser(it);
  await install(plan, enable, { root });
  await tellSteps(true);
  if (!enable || plan.enabled.length === 0)
    for (const line of plan.next) note(`next: ${escapeControls(line)}`);
}

async function uninstallIt(name: string, options: ServiceOptions): Promise<void> {
  if (name !== WORKERS) checkDaemonName(name);
  const { config, wrong } = await soundPartOf(options);
  const it = asked(name, config, options);
  const { plan, root } = it;
  const steps = stepsBack(plan, { root });
  if (steps.length === 0) {
    // A slip of the keyboard must not look like success.
    if (name !== WORKERS) await named(name, options);
    note(`${name}: not installed as a service of ${it.init}`);
  } else if (wrong) tellWrong(wrong, config);
  if (!options.dryRun) {
    if (steps.length > 0) refuseElsewhere(it);
    await uninstall(plan, { root });
  }
  await (options.json ? print(safeJson(steps)) : tell(steps, !options.dryRun));
}

/** Errors: SERVICE_FAILED: there is no such account. */
function checkUser({ init, root, service: { account } }: Asked): void {
  if (root === undefined && account !== undefined && init !== 'windows') checkAccount(account);
}

/** Warns of what would be refused. */
function attempt(check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    warn(`without --dry-run this is refused: ${error.message}`);
  }
}

const RUNS: Readonly<Record<Init, () => boolean>> = {
  systemd: runsSystemd,
  'systemd-user': runsSystemd,
  sysv: () => process.platform === 'linux',
  launchd: () => process.platform === 'darwin',
  windows: () => process.platform === 'win32',
};

/** Errors: SERVICE_FAILED: there is nobody to look after the service. */
function refuseElsewhere({ init, root }: Asked): void {
  if (root !== undefined || RUNS[init]()) return;
  throw new QueueError(
    'SERVICE_FAILED',
    `${init} does not run here; --dry-run shows what would be done, --root writes it for another system`,
  );
}

/** A file as `install --json` prints it. */
interface InstalledFile {
  path: string;
  /** Null: what a former installation has left there is removed. */
  mode: string | null;
  content: string | null;
  /** What is run once the file is there, word by word; of the last one only, when all are. */
  commands: string[][];
}

/** So that whoever wants the files finds nothing else in the list. */
function filesOf(steps: readonly Step[]): InstalledFile[] {
  const files = steps.flatMap((step): InstalledFile[] => {
    if ('command' in step) return [];
    if ('remove' in step) return [{ path: step.remove, mode: null, content: null, commands: [] }];
    return [{ ...step, commands: [] }];
  });
  files.at(-1)?.commands.push(...steps.flatMap((step) => ('command' in step ? [step.command] : [])));
  return files;
}

/** @param done whether it has been done, and need not be shown in full. */
async function tell(steps: readonly Step[], done: boolean): Promise<void> {
  for (const step of steps) {
    if ('command' in step)
      await print(`${done ? 'ran     ' : '$'} ${safe(step.command.map(shown).join(' '))}`);
    else if ('remove' in step) await print(`${done ? 'removed ' : '$ rm'} ${escapeControls(step.remove)}`);
    else if (done) await print(`wrote    ${escapeControls(step.path)}`);
    else {
      await print(styled('bold', `# ${escapeControls(step.path)} (${step.mode})`));
      await print(safe(step.content.replaceAll('\r', '')));
    }
  }
}

/** A word as a shell would have to be given it. */
function shown(word: string): string {
  return /^[A-Za-z0-9@%_=:.,/+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function warn(text: string): void {
  note(`${styled('yellow', 'queue-daemon: warning:', process.stderr)} ${escapeControls(text)}`);
}
