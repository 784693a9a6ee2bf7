/**
 * A program with a `Supervisor`, as any program has it, that does with it what a test asks for (`Master` in masters.ts). A request
 * `{ id, method, args }` is answered by `{ id, value }` or `{ id, error }`; events and lines of the log are told as they come.
 */
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
