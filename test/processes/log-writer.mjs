/**
 * A process that logs. Told how by its first argument, it logs so many lines with each message `go`, notes each in a file of its own when
 * it is logged, opens its log again on SIGHUP, and ends at the message `end`, when all that was asked for is logged.
 */
import fs from 'node:fs';
import { createJiti } from 'jiti';

const { flags, writer, count, largest, notes } = JSON.parse(process.argv[2]);
const jiti = createJiti(import.meta.url);
const { loadConfig } = await jiti.import('../../src/config.ts');
const { openLog } = await jiti.import('../../src/log/open.ts');

const config = await loadConfig({ env: {}, flags });
const log = openLog(config, { stdout: process.stdout, stderr: process.stderr });
process.on('SIGHUP', () => log.reopen());
const noted = fs.openSync(notes, 'a');
let work = Promise.resolve();
let n = 0;
process.on('message', (order) => {
  work = work.then(order === 'go' ? write : end);
});
process.send('ready');

async function write() {
  for (const last = n + count; n < last;) {
    n++;
    // Sizes of all kinds, the same each time.
    const size = (n * 7919 * writer) % largest;
    log.sink('INFO', 'x'.repeat(size), { writer, n });
    fs.writeSync(noted, `${n}\n`);
    // Signals are heard in between.
    if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

function end() {
  log.close();
  process.disconnect();
}
