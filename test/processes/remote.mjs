/**
 * A process that does with queues what a test asks for. Started by `Stage.start`, which speaks to it in messages
 * `{ id, target, method, args }`; each is answered by `{ id, value }` or `{ id, error }`, as soon as it is done.
 */
import { openCache } from './engine.mjs';
import { tasks } from './tasks.mjs';

const { name, options, become } = JSON.parse(process.argv[2]);
if (become) {
  // After the modules are loaded: the account need not be able to read them.
  process.setgroups([]);
  process.setgid(become.gid);
  process.setuid(become.uid);
}
const backend = await openCache(options);
let opening;
const queue = () => (opening ??= backend.open(name));

async function answer({ target, method, args }) {
  if (target === 'backend') return backend[method](...args);
  if (target === 'queue') return (await queue())[method](...args);
  return tasks[method](await queue(), ...args, backend);
}

process.on('message', (request) => {
  answer(request).then(
    (value) => process.send({ id: request.id, value }),
    (error) => {
      // What was open is gone: the next request opens what now has the name.
      if (error.code === 'QUEUE_DESTROYED' || error.code === 'QUEUE_NOT_FOUND') opening = undefined;
      process.send({ id: request.id, error: { message: error.message, code: error.code } });
    },
  );
});
process.send({ ready: process.pid });
