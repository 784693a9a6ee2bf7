/**
 * Checks what a user gets: packs the project, has publint and attw read the tarball, then installs it into an empty
 * project (its dependencies come from the registry) and uses it there as programs do: import, require, types, commands.
 * Run as `npm run test:package`, which compiles first. Leaves nothing behind.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const attwOptions = [
  '--no-definitely-typed',
  // Leaves out node10 resolution, which knows no "exports"; no Node that Coda runs on resolves that way.
  '--profile=node16',
  // The rule warns that require() cannot load ES modules. Node 20.19 and later can; the step "require" below shows it.
  '--ignore-rules=cjs-resolves-to-esm',
];

const imports = `
import { QueueError, QueueManager, Worker } from 'coda-queue';
import { inline } from 'coda-queue/testing';
`;
const requires = `
const { QueueError, QueueManager, Worker } = require('coda-queue');
const { inline } = require('coda-queue/testing');
`;

/** What a program does first, once for each way to get hold of the package. */
const program = (load) => `
${load}
async function main() {
  const manager = await QueueManager.open({ cacheRoot: './queues' });
  await manager.createQueue('mail');
  await manager.addMessage('mail', { data: { to: 'ada' } });
  const message = await manager.getMessage('mail');
  if (message?.data.to !== 'ada') throw new Error('expected the message back, got ' + JSON.stringify(message));
  const error = await manager.addMessage('nowhere', { data: 1 }).catch((cause) => cause);
  if (!(error instanceof QueueError)) throw new Error('expected a QueueError, got ' + String(error));
  await manager.destroyQueue('mail');
  await manager.close();
  class Mails extends Worker {
    process() {}
  }
  const { outcome } = await inline(Mails, { data: { to: 'ada' } });
  if (outcome !== 'completed') throw new Error('expected the message to be completed, it was ' + outcome);
}
void main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
`;

/** The same with types. The jobs map makes a wrong queue or payload an error, which is checked too. */
const typedProgram = `
import { QueueError, QueueManager, Worker, type Message } from 'coda-queue';
import { inline, type LogLine } from 'coda-queue/testing';

class Mails extends Worker<{ to: string }> {
  override process(_message: Message<{ to: string }>): void {}
}

export async function tested(): Promise<LogLine[]> {
  // @ts-expect-error: a payload of another shape
  await inline(Mails, { data: { from: 'ada' } });
  return (await inline(Mails, { data: { to: 'ada' } })).logs;
}

interface Jobs {
  mail: { to: string };
}

export async function main(): Promise<string | undefined> {
  const manager = await QueueManager.open<Jobs>({ cacheRoot: './queues' });
  try {
    await manager.createQueue('mail');
    await manager.addMessage('mail', { data: { to: 'ada' } });
    // @ts-expect-error: a payload of another shape
    await manager.addMessage('mail', { data: { from: 'ada' } });
    const message = await manager.getMessage('mail');
    return message?.data.to;
  } catch (error) {
    if (error instanceof QueueError) return error.code;
    throw error;
  } finally {
    await manager.close();
  }
}
`;

/** One tsconfig each: [module, moduleResolution, file]. */
const consumers = {
  node16: ['node16', 'node16', 'consumer.mts'],
  bundler: ['esnext', 'bundler', 'consumer.mts'],
  // From CommonJS: only `nodenext` knows that require() loads ES modules.
  'nodenext, CommonJS': ['nodenext', 'nodenext', 'consumer.cts'],
};

const temp = mkdtempSync(join(tmpdir(), 'coda-package-'));
try {
  const tarball = pack();
  step('publint', () => npm(root, 'exec', '--no', '--', 'publint', 'run', tarball, '--strict'));
  step('attw', () => npm(root, 'exec', '--no', '--', 'attw', tarball, ...attwOptions));

  const project = install(tarball);
  step('import', () => run(project, process.execPath, ['program.mjs']));
  if (process.features.require_module) step('require', () => run(project, process.execPath, ['program.cjs']));
  else console.log('-- require: skipped, this Node cannot require ES modules');
  for (const name of Object.keys(consumers)) {
    step(`types, ${name}`, () =>
      run(project, process.execPath, [
        join(root, 'node_modules/typescript/bin/tsc'),
        '-p',
        `tsconfig.${name}.json`,
      ]),
    );
  }
  for (const command of ['queue', 'queue-worker']) {
    step(`${command} --help`, () => npm(project, 'exec', '--no', '--', command, '--help'));
  }
} catch (error) {
  console.error(`package check failed: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(temp, { recursive: true, force: true });
}

function pack() {
  step('pack', () => npm(root, 'pack', '--loglevel=error', '--pack-destination', temp));
  return join(
    temp,
    readdirSync(temp).find((name) => name.endsWith('.tgz')),
  );
}

/** An empty project with the tarball in it, and the programs that use it. */
function install(tarball) {
  const project = join(temp, 'project');
  mkdirSync(project);
  const write = (name, text) => writeFileSync(join(project, name), text);
  write('package.json', JSON.stringify({ name: 'consumer', private: true }));
  write('program.mjs', program(imports));
  write('program.cjs', program(requires));
  write('consumer.mts', typedProgram);
  write('consumer.cts', typedProgram);
  for (const [name, [module, moduleResolution, file]] of Object.entries(consumers)) {
    // skipLibCheck false: our declarations are checked as well, by whoever has it so.
    const compilerOptions = {
      module,
      moduleResolution,
      target: 'es2022',
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
    };
    write(`tsconfig.${name}.json`, JSON.stringify({ compilerOptions, files: [file] }));
  }
  step('install', () => {
    npm(
      project,
      'install',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
      tarball,
      `@types/node@${devDependencies['@types/node']}`,
    );
  });
  return project;
}

function step(name, action) {
  console.log(`-- ${name}`);
  action();
}

function npm(cwd, ...args) {
  run(cwd, 'npm', args, { shell: process.platform === 'win32' });
}

function run(cwd, command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, {
    cwd,
    stdio: ['ignore', 'inherit', 'inherit'],
    ...options,
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${signal ?? `exit code ${status}`}`);
}
