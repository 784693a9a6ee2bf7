/**
 * A program with a `Supervisor`, as any program has it, that does with it what a test asks for (`Master` in masters.ts). A request
 * `{ id, method, args }` is answered by `{ id, value }` or `{ id, error }`; events and lines of the log are told as they come.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';

const { Supervisor } = await import(new URL('../../dist/src/index.js', import.meta.url).href);

const log = Object.fromEntries(
  ['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map((level) => [
    level,
    (text, fields) => process.send?.({ line: { level, text, ...fields } }),
  ]),
);
const supervisor = new Supervisor({ ...JSON.parse(process.argv[2]), log });
supervisor.onEvent((event) => process.send?.({ event }));
// Which must be nothing to the children.
supervisor.onEvent(() => {
  throw new Error('a listener that throws');
});
const stop = new AbortController();
const force = new AbortController();

const methods = {
  stopAll: () => stop.abort(),
  force: () => force.abort(),
  memory: () => process.memoryUsage().rss,
  /** So many at once; how each has ended. */
  async sendMany(count, target, command, args, options) {
    const text = typeof args === 'number' ? 'x'.repeat(args) : args;
    const all = Array.from({ length: count }, () => supervisor.send(target, command, text, options));
    return (await Promise.allSettled(all)).map(({ reason }) => reason?.code ?? 'answered');
  },
  /**
   * Has the child end once the file `go` is there, and hears of that end before anything else that the child has done since.
   * Of what is ready at one time, the event loop looks at signals last, and a signal that a child has ended has it ask
   * for all that have. So one is sent for nothing, and the child ends behind the wait, in what the loop looks at before.
   * Between the two, `told` is sent a command, where one is named.
   */
  hearEndFirst(pid, go, told) {
    // Its first thread may have ended before the others; then it is not told of yet.
    const isDead = () =>
      readdirSync(`/proc/${pid}/task`).length === 1 &&
      readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
    const server = createServer((socket) => {
      socket.destroy();
      server.close();
      writeFileSync(go, '');
      const nap = new Int32Array(new SharedArrayBuffer(4));
      for (let left = 5000; left > 0 && !isDead(); left--) Atomics.wait(nap, 0, 0, 2);
      if (told !== undefined) supervisor.send(told, 'hurry', null).catch(() => undefined);
    });
    server.listen('turn.sock', () => {
      connect('turn.sock').on('error', () => undefined);
      process.kill(process.pid, 'SIGCHLD');
    });
  },
};

process.on('message', ({ id, method, args }) => {
  new Promise((resolve) => {
    resolve(method in methods ? methods[method](...args) : supervisor[method](...args));
  }).then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: { code: error.code, message: error.message } }),
  );
});
process.send({ ready: true });
try {
  await supervisor.run(stop.signal, force.signal);
  process.send({ ended: null });
} catch (error) {
  process.send({ ended: { code: error.code, message: error.message } });
}
process.disconnect();
