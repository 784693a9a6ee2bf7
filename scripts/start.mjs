/**
 * The demonstration behind `npm start`: the commands that a user would type, run one after the other for all to see, on
 * the sample messages in examples/. Everything it makes is in ./demo-queues; running it again adds to what is there.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = 'demo-queues';
const here = ['--cache-root', folder];

// The worker that runs then is told by the terminal itself, and stops cleanly; this script ends after it.
process.on('SIGINT', () => undefined);

say('Coda keeps queues in a folder: no server, no account. First a queue:');
await run('queue', 'create', 'anpr', ...here);
say('A producer adds twenty reads of number plates, one JSON message a line:');
await run('queue', 'add', 'anpr', '--ndjson', 'examples/sample-messages.ndjson', ...here);
say('They wait in line, on disk:');
await run('queue', 'list', ...here);
say(
  'A worker, workers/anpr.ts, drains them in order. One finds its gate busy, and is tried again after a while:',
);
await run('queue-worker', 'anpr', '--drain', ...here);
say('How the queue stands now:');
await run('queue', 'status', 'anpr', ...here);

const journal = readdirSync(join(root, folder, 'anpr'))
  .filter((name) => name.endsWith('.journal'))
  .sort()
  .at(-1);
say(`What to try next:

  Watch a worker wait for work (Ctrl-C stops it), and give it some from a second terminal:
    node dist/bin/queue-worker.js anpr --cache-root ${folder}
    node dist/bin/queue.js add anpr '{"plate":"M-AB 123","camera":"north-gate-1","lane":"in","confidence":0.97}' --cache-root ${folder}

  Have every record of the queue checked:
    node dist/bin/queue.js verify anpr --cache-root ${folder}

  Read the queue itself, one line for everything that happened:
    tail -n 5 ${join(folder, 'anpr', journal)}
`);

/** Runs a command that ships, its output straight to the terminal; ends this script when it fails. */
async function run(command, ...args) {
  console.log(`  $ ${command} ${args.join(' ')}`);
  const child = spawn(process.execPath, [join('dist', 'bin', `${command}.js`), ...args], {
    cwd: root,
    stdio: 'inherit',
    env: { CODA_FORMAT: 'pretty', ...process.env },
  });
  const code = await new Promise((resolve) =>
    child.once('exit', (exitCode, signal) => resolve(signal ?? exitCode)),
  );
  if (code === 0) return;
  console.error(`${command} ended with ${code}`);
  process.exit(typeof code === 'number' ? code : 1);
}

function say(text) {
  console.log(`\n${text}`);
}
