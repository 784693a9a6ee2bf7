/**
 * A process with a `QueueManager` of its own, as any program has it, that does with it what a test asks for (`Managed` in
 * faulty.ts). A request `{ id, method, args }` is answered by `{ id, value }` or `{ id, error }`, as soon as it is done.
 */
const { QueueManager } = await import(new URL('../../dist/src/index.js', import.meta.url).href);

/** Opened by the first request, so that a failure is an answer. */
let opening;
const open = () => (opening ??= QueueManager.open(JSON.parse(process.argv[2])));

/** Calls that would carry much to and fro. */
const extra = {
  /** Adds `{ n }` for `count` numbers from `first`, each with `bytes` more, all at once; tells which were not refused. */
  async addNumbers(manager, queue, { first, count, bytes }) {
    const filler = 'x'.repeat(bytes);
    const numbers = Array.from({ length: count }, (_, i) => first + i);
    const answers = await Promise.allSettled(
      numbers.map((n) => manager.addMessage(queue, { data: { n, filler } })),
    );
    return numbers.filter((_, i) => answers[i].status === 'fulfilled');
  },

  /** Claims and completes all that can be had; tells the data, or only the number in it, in the order of the claims. */
  async drain(manager, queue) {
    const got = [];
    for (;;) {
      const claims = await manager.claimMessages(queue, { limit: 20 });
      if (claims.length === 0) return got;
      const settled = await Promise.all(claims.map((claim) => manager.completeMessage(queue, claim)));
      if (settled.includes(false)) throw new Error('a settle was refused');
      got.push(...claims.map(({ data }) => data.n ?? data));
    }
  },
};

process.on('message', ({ id, method, args }) => {
  open()
    .then(
      (manager) => (method in extra ? extra[method](manager, ...args) : manager[method](...args)),
      (error) => {
        opening = undefined;
        throw error;
      },
    )
    .then(
      (value) => process.send({ id, value }),
      (error) => process.send({ id, error: { code: error.code, message: error.message, path: error.path } }),
    );
});
process.send({ ready: true });
