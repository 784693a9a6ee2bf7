import type { Command } from 'commander';
import { crashDaemon, looking, stopDaemon } from '../../src/daemon/control.ts';
import { checkFiles } from '../../src/daemon/start.ts';
import { isUp, isWell, judge, type Judgement } from '../../src/daemon/verify.ts';
import type { Config } from '../../src/config.ts';
import { QueueError, escapeControls } from '../../src/errors.ts';
import { tell } from '../cli.ts';
import { EXIT, exitCodeOf } from '../exit-codes.ts';
import { print, safeJson } from '../output.ts';
import { paint } from '../queue/watch/row.ts';
import {
  allNames,
  configOf,
  headline,
  named,
  patience,
  serviceOf,
  start,
  toJson,
  type Named,
} from './daemons.ts';
import { TO_COME_UP, UP, type TimedOptions } from './options.ts';

interface Options extends TimedOptions {
  all?: true;
  revive?: true;
}

/** How long somebody else has to start his daemon again, in ms. */
const OTHERS = 3000;
/** How long one that is stalled has to be heard of before it is ended, in ms. */
const SECOND_LOOK = 2000;

export function verifyCommand(program: Command): void {
  program
    .command('verify [daemons...]')
    .description('check that daemons run as they should; start those again that do not')
    .option('--all', 'all that were started and that nobody has stopped')
    .option('--revive', 'end those that are stalled or unhealthy, and start them and the dead again')
    .option(...UP)
    .option('--json', 'print each as a line of JSON')
    .addHelpText(
      'after',
      `
A daemon is stalled when its iteration takes longer than [daemon] stallAfter, or what it declares itself; unhealthy
when its own verify() says so. One that was stopped with "queue-daemon stop" is as it should be until it is started.
Exits with 0 when all is well, or has been made so; else with 1. Without --json, what is well is told on a terminal only.

Examples:
  queue-daemon verify queue
  * * * * *  cd /srv/app && queue-daemon verify --all --revive      (a line of a crontab)`,
    )
    .action(async (names: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const daemons = await meant(names, options);
      const verdicts = await Promise.all(daemons.map((daemon) => verifyOne(daemon, options)));
      if (verdicts.includes(false)) process.exitCode = EXIT.failure;
    });
}

async function meant(names: readonly string[], options: Options): Promise<(Named & { isNamed: boolean })[]> {
  if (options.all === true ? names.length > 0 : names.length === 0) {
    const received = options.all === true ? 'both' : 'neither';
    throw new QueueError('INVALID_ARGUMENT', `expected names of daemons, or --all, received ${received}`);
  }
  if (options.all !== true) {
    const daemons = await Promise.all(names.map((name) => named(name, options)));
    return daemons.map((daemon) => ({ ...daemon, isNamed: true }));
  }
  const config = await configOf(options);
  const { names: all, error } = await allNames(config);
  if (error) {
    tell('queue-daemon verify', error);
    process.exitCode = exitCodeOf(error);
  }
  return all.map((name) => ({ name, config, stateDir: config.daemon.stateDir, isNamed: false }));
}

/** Resolves with whether it is, or is again, as it should be. */
async function verifyOne(daemon: Named & { isNamed: boolean }, options: Options): Promise<boolean> {
  const { name, config, stateDir } = daemon;
  try {
    const before = await judgeTwice(stateDir, name, options.revive === true);
    if (isAsItShould(before, daemon.isNamed)) {
      // A line of cron has nothing to tell of what is well.
      if (options.json || process.stdout.isTTY) await say(config, before, options, undefined);
      return true;
    }
    if (!options.revive) {
      await say(config, before, options, undefined);
      return false;
    }
    const service = serviceOf(stateDir, before);
    if (service !== undefined) return await reviveService(daemon, before, service, options);
    const after = await revive(daemon, before, options);
    const isStopped = after?.isStoppedByHand === true;
    const fate = isStopped ? { fate: '; stopped by hand meanwhile, and left so' } : {};
    await say(config, after ?? before, options, {
      before,
      revived: after !== undefined && !isStopped,
      ...fate,
    });
    return after !== undefined;
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    // One that cannot be judged or started does not keep the others from it.
    tell(`queue-daemon verify: ${name}`, error);
    return false;
  }
}

/** One that is stalled, and is about to be ended for it, may have stood still with its machine, and is heard of again in a moment. */
async function judgeTwice(stateDir: string, name: string, isGrave: boolean): Promise<Judgement> {
  let judgement = await judge(stateDir, name);
  if (!isGrave || judgement.standing !== 'stalled') return judgement;
  await looking(SECOND_LOOK, async () => {
    judgement = await judge(stateDir, name);
    return judgement.standing !== 'stalled';
  });
  return judgement;
}

/** One that nobody has started runs if it is named: who names it wants it to run. */
function isAsItShould(judgement: Judgement, isNamed: boolean): boolean {
  if (!isUp(judgement)) return isNamed ? judgement.isStoppedByHand : !judgement.wanted;
  // One that is told to stop may be as stalled as it likes: who told it sees to its end.
  return isWell(judgement) || judgement.isStoppedByHand;
}

async function revive(daemon: Named, before: Judgement, options: Options): Promise<Judgement | undefined> {
  const { name, config, stateDir } = daemon;
  checkFiles(stateDir, name);
  if (isUp(before)) await stopDaemon(stateDir, name, { timeout: patience(config), lasting: false });
  // Who ran it in the foreground, such as systemd, may see to that.
  const isOthers = before.state?.background === false && before.state.upAt !== null;
  if (isOthers && (await looking(OTHERS, async () => isUp(await judge(stateDir, name)))))
    return judge(stateDir, name);
  const now = await judge(stateDir, name);
  if (now.isStoppedByHand) return now;
  try {
    return await start(daemon, options, options.timeout ?? TO_COME_UP);
  } catch (error) {
    if (!(error instanceof QueueError && error.code === 'DAEMON_RUNNING')) throw error;
    // Somebody else has started it meanwhile.
    return judge(stateDir, name);
  }
}

/** Started from here it would run beside its service, which would know nothing of it. */
async function reviveService(
  { name, config, stateDir }: Named,
  before: Judgement,
  service: string,
  options: Options,
): Promise<boolean> {
  const ends = isUp(before);
  if (ends) checkFiles(stateDir, name);
  if (ends) await crashDaemon(stateDir, name);
  const fate = ends ? `; ended, for ${service} to start it again` : `; ${service} is to start it again`;
  await say(config, before, options, { before, revived: false, fate });
  return ends;
}

async function say(
  config: Config,
  now: Judgement,
  { json }: Options,
  revival: { before: Judgement; revived: boolean; fate?: string } | undefined,
): Promise<void> {
  if (json) {
    const about = { before: revival?.before.standing ?? now.standing, revived: revival?.revived ?? false };
    return print(safeJson({ ...toJson(config, now), ...about }));
  }
  const head = headline(revival?.before ?? now);
  const fate =
    revival === undefined ? '' : revival.revived ? '; started again' : '; could not be started again';
  await print(paint([...head, escapeControls(revival?.fate ?? fate)]));
}
