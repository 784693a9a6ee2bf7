/** Finds users' methods: each is a file `<name>.ts`, `.js` or `.mjs` in their folder, and is called by that name. */
import { QueueError, quote } from '../errors.ts';
import { classOf, findAll, type Kind } from '../worker/class-loader.ts';
import { isCallMethodClass, type CallMethodClass } from './method.ts';

const KIND: Kind = {
  noun: 'method',
  called: 'named',
  suffix: '',
  pattern: /^[A-Za-z][\w.-]{0,63}$/,
  base: 'CallMethod',
  method: 'execute()',
  code: 'METHOD_FAILED',
};

/**
 * Resolves with the classes by their names; none when there is no such folder. Costs the import of all its files; for
 * TypeScript also that of a compiler.
 * Errors: METHOD_FAILED: a file cannot be loaded, or does not export a class that extends CallMethod.
 * @param folder absolute.
 * @param library what `import … from 'coda-queue'` means in a file that has no such package installed beside it.
 */
export async function loadMethods(folder: string, library: object): Promise<Map<string, CallMethodClass>> {
  const methods = new Map<string, CallMethodClass>();
  for (const { name, path } of await findAll(KIND, { own: folder, shipped: folder })) {
    const loaded: unknown = await classOf(KIND, path, library);
    if (!isCallMethodClass(loaded))
      throw new QueueError(
        'METHOD_FAILED',
        `${quote(path, 300)}: expected a class that extends CallMethod, received another class`,
        { path },
      );
    methods.set(name, loaded);
  }
  return methods;
}
