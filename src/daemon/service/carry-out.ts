/**
 * Carries out a plan: writes its files, runs its commands; and takes all of it back. Doing either twice does no harm. What
 * stands in the place of one of the files and was not written by `queue-daemon install` for the same daemon of the same
 * installation is left alone.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { QueueError, escapeControls, quote } from '../../errors.ts';
import { MARK, type Plan, type ServiceFile } from './service.ts';

/** In the order in which they are taken. */
export type Step =
  | { path: string; mode: string; content: string }
  | { remove: string }
  /** Word by word. */
  | { command: string[] };

export interface Where {
  /** A folder that stands for `/`, whose system does not run now. */
  root?: string | undefined;
}

/** What `install` does. @param enable whether it is also to start, now and with the machine. */
export function stepsOf(plan: Plan, enable: boolean, where: Where): Step[] {
  const files = plan.files.map(({ path, mode, content }) => ({
    path: below(where, path),
    mode: mode.toString(8).padStart(4, '0'),
    content,
  }));
  const former = formerOf(plan, where).map((path) => ({ remove: path }));
  return [
    ...files,
    ...former,
    ...[...plan.made, ...(enable ? plan.enabled : [])].map((command) => ({ command })),
  ];
}

/** What `uninstall` does: nothing, when nothing of it is there. Errors: SERVICE_FAILED: something else stands there. */
export function stepsBack(plan: Plan, where: Where): Step[] {
  const present = presentOf(plan, where);
  if (present.length === 0) return [];
  return [
    ...plan.disabled.map((command) => ({ command })),
    ...present.map((path) => ({ remove: path })),
    ...plan.removed.map((command) => ({ command })),
  ];
}

/**
 * Resolves when all steps are done. Before the first one it is checked that all may be done.
 * Errors: SERVICE_FAILED: there is no right to, something else stands in the place of a file, or a command fails.
 */
export async function install(plan: Plan, enable: boolean, where: Where): Promise<void> {
  for (const file of plan.files) check(plan, file, where);
  for (const file of plan.files) write(file, where);
  for (const path of formerOf(plan, where)) fs.rmSync(path, { force: true });
  for (const command of [...plan.made, ...(enable ? plan.enabled : [])]) await run(command);
}

/** Resolves when nothing of it is there any more. Errors: SERVICE_FAILED, as of `install`. */
export async function uninstall(plan: Plan, where: Where): Promise<void> {
  const present = presentOf(plan, where);
  if (present.length === 0) return;
  for (const path of present) checkFolder(dirname(path), path);
  for (const command of plan.disabled) {
    // It may not run, or not even be known.
    await run(command).catch(() => undefined);
  }
  for (const path of present) fs.rmSync(path, { force: true });
  for (const command of plan.removed) await run(command);
}

/** What an installation under another policy has left. */
function formerOf(plan: Plan, where: Where): string[] {
  return plan.others.map((path) => below(where, path)).filter((path) => isOurs(path, markIn(plan, path)));
}

function presentOf(plan: Plan, where: Where): string[] {
  const own = plan.files.map(({ path }) => below(where, path));
  return [
    ...own.filter((path, at) => isOurs(path, markIn(plan, plan.files[at]?.path))),
    ...formerOf(plan, where),
  ];
}

/** The line with the mark, as it stands in the file of that path; that of the first one where it is another's. */
function markIn({ files }: Plan, path: string | undefined): string {
  const file = files.find((each) => each.path === path) ?? files[0];
  return markLine(file?.content ?? '') ?? '';
}

/** Undefined: there is none. */
function markLine(content: string): string | undefined {
  const lines = content.slice(0, HEAD).split(/\r?\n/);
  return lines.find((line) => line.includes(MARK));
}

/** Characters, in which the mark is found; a path in it may be long. */
const HEAD = 16_384;

function below({ root }: Where, path: string): string {
  return root === undefined ? path : join(root, path);
}

function check(plan: Plan, file: ServiceFile, where: Where): void {
  const path = below(where, file.path);
  isOurs(path, markIn(plan, file.path));
  checkFolder(dirname(path), path);
}

/** Whether there is such a file with this mark; false: there is none. Errors: SERVICE_FAILED: there is another. */
function isOurs(path: string, mark: string): boolean {
  let stat: fs.Stats | undefined;
  let found: string | undefined;
  try {
    stat = fs.lstatSync(path, { throwIfNoEntry: false });
    if (!stat) return false;
    if (stat.isFile()) found = markLine(fs.readFileSync(path, 'utf8'));
  } catch (cause) {
    throw refused(path, cause);
  }
  if (found === mark) return true;
  if (found !== undefined) {
    const from = found.indexOf(MARK);
    throw new QueueError(
      'SERVICE_FAILED',
      `${quote(path, 300)} is the service of another daemon, or of another installation: ` +
        `${quote(found.slice(from).replace(/ -->$/, ''), 500)}; remove it first, there, or by hand if nothing is there any more, ` +
        'or give this one a name of its own with --name',
      { path },
    );
  }
  const what = stat.isSymbolicLink() ? 'a link, such as one that masks a service' : 'something else';
  throw new QueueError(
    'SERVICE_FAILED',
    `expected nothing, or a file that "queue-daemon install" has written, at ${quote(path, 300)}, found ${what}`,
    { path },
  );
}

/** Whether files can be made and removed in that folder, or in the one in which it would be made. */
function checkFolder(folder: string, path: string): void {
  try {
    fs.accessSync(folder, fs.constants.W_OK | fs.constants.X_OK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' && dirname(folder) !== folder) return checkFolder(dirname(folder), path);
    throw refused(path, cause);
  }
}

/** In one step, and flushed: what starts with the machine must be whole after a power cut. */
function write({ path: name, mode, content }: ServiceFile, where: Where): void {
  const path = below(where, name);
  const draft = join(dirname(path), `.${randomBytes(6).toString('hex')}.coda`);
  try {
    fs.mkdirSync(dirname(path), { recursive: true });
    const fd = fs.openSync(draft, 'wx', mode);
    try {
      fs.writeFileSync(fd, content);
      // Whatever the umask says.
      fs.fchmodSync(fd, mode);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(draft, path);
  } catch (cause) {
    fs.rmSync(draft, { force: true });
    throw refused(path, cause);
  }
}

function refused(path: string, cause: unknown): QueueError {
  const { code } = cause as NodeJS.ErrnoException;
  const isRight = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  const text = isRight
    ? `no right to write ${quote(path, 300)} (${code}): a service of the system is for root to install, as with sudo; ` +
      'one of an account of its own for that account (--init systemd-user)'
    : `${quote(path, 300)} cannot be written (${code})`;
  return new QueueError('SERVICE_FAILED', text, { path, cause });
}

/** Longer than a service may take to come up or to stop; ms. */
const PATIENCE = 600_000;

async function run([program = '', ...args]: readonly string[]): Promise<void> {
  const said = [program, ...args].join(' ');
  await new Promise<void>((resolve, reject) => {
    execFile(program, args, { timeout: PATIENCE, windowsHide: true }, (cause, _, stderr) => {
      if (!cause) return resolve();
      const { code } = cause;
      const words = stderr.trim().replace(/\s+/g, ' ');
      const why = code === 'ENOENT' ? 'there is no such program' : words || `exit code ${code}`;
      const text = `"${escapeControls(said)}" failed: ${escapeControls(why).slice(0, 500)}`;
      reject(new QueueError('SERVICE_FAILED', text, { cause }));
    });
  });
}
