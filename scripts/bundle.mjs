/**
 * Bundles the JavaScript of dist/: a file for each entry, and a few that they share. What a program waits for as it starts is
 * the loading of modules: a hundred small files take as long again as Node itself, one large file takes a third of that.
 * What comes out is not minified, so that a stack names the functions that the sources name.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isAbsolute, join, posix, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What every program needs, with all that it imports. */
const CORE = /[\\/]src[\\/]index\.ts$/;
/** What several commands need at once; each file more takes a millisecond. */
const COMMAND = /[\\/]bin[\\/](cli|layout|when|queue[\\/]time|queue[\\/]watch[\\/](row|trend|words))\.ts$/;
const LOADER = /[\\/]src[\\/]worker[\\/]loader\.ts$/;

/** Resolves when the bundle has been written below `folder`. */
export async function bundle(folder) {
  const build = await rolldown({
    cwd: root,
    input: Object.fromEntries(entries().map((name) => [name, join(root, `${name}.ts`)])),
    platform: 'node',
    // Dependencies are the user's to install, and workers import this package by its name. Helpers of the bundler go in.
    external: (id) => !id.startsWith('.') && !isAbsolute(id) && !id.startsWith('@oxc-project/runtime/'),
    transform: { target: 'es2023' },
    checks: { bundlerTimings: false },
    plugins: [ownPlace(), builtinsAsTheyAre()],
  });
  try {
    await build.write({
      dir: folder,
      format: 'esm',
      comments: false,
      // Text of one byte a character is read faster.
      charset: 'ascii',
      entryFileNames: '[name].js',
      chunkFileNames: ({ facadeModuleId, moduleIds }) =>
        `${homeOf([facadeModuleId ?? '', ...moduleIds])}/shared/[name].js`,
      polyfillRequire: false,
      codeSplitting: {
        groups: [
          { name: 'core', test: CORE, priority: 1 },
          { name: 'command', test: COMMAND },
          { name: 'loader', test: LOADER },
        ],
      },
    });
  } finally {
    await build.close();
  }
}

/** What is started or imported by its path, without the extension. */
function entries() {
  const { bin, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const named = [...Object.values(bin), ...Object.values(exports).map((entry) => entry.default)]
    .filter((path) => path !== undefined)
    .map((path) => posix.relative('dist', path).slice(0, -'.js'.length));
  const loaded = ['workers', 'daemons'].flatMap((folder) =>
    existsSync(join(root, folder))
      ? readdirSync(join(root, folder))
          .filter((name) => name.endsWith('.ts'))
          .map((name) => `${folder}/${name.slice(0, -'.ts'.length)}`)
      : [],
  );
  // What a supervisor starts beside the commands.
  const started = ['bin/queue-daemon/host', 'bin/queue-daemon/lifeline'];
  // The engine by itself is for the tests that run processes of their own.
  return [
    ...named,
    ...loaded,
    ...started,
    'bench/run',
    'bench/child',
    'bench/enqueue-one',
    'src/cache/backend',
  ];
}

/** The topmost folder that modules come from: those above import from those below, never the other way. */
function homeOf(modules) {
  return ['bench', 'bin'].find((folder) => modules.some((id) => id.startsWith(join(root, folder)))) ?? 'src';
}

/** A module that asks for its own place is told where it would lie if each were a file of its own, whichever it is in. */
function ownPlace() {
  const sign = 'coda-own-place:';
  return {
    name: 'own-place',
    transform(code, id) {
      if (!code.includes('import.meta.url')) return null;
      const place = relative(root, id).replaceAll('\\', '/').replace(/\.ts$/, '.js');
      return code.replaceAll('import.meta.url', JSON.stringify(sign + place));
    },
    renderChunk(code, { fileName }) {
      return code.replaceAll(new RegExp(`"${sign}([^"]+)"`, 'g'), (_, place) => {
        const path = posix.relative(posix.dirname(fileName), place);
        return `new URL(${JSON.stringify(path)}, import.meta.url).href`;
      });
    },
  };
}

/**
 * Asks Node for its built-in modules instead of importing them: an import reads every property of the module, and some of
 * those load others (fs.promises, crypto.webcrypto), which takes one or two milliseconds.
 */
function builtinsAsTheyAre() {
  // The bundler writes imports one a line, before everything else.
  const head = /^(#!.*\n)?(import .*\n)+/;
  const builtin = /^import (?:\* as )?(\w+)?(?:, )?(?:\{ (.+) \})? from ("node:.+");$/gm;
  return {
    name: 'builtins-as-they-are',
    renderChunk: (code) =>
      code.replace(head, (imports) =>
        imports.replace(builtin, (_, whole, named, module) =>
          [whole, named && `{ ${named.replaceAll(' as ', ': ')} }`]
            .filter((target) => target)
            .map((target) => `const ${target} = process.getBuiltinModule(${module});`)
            .join(' '),
        ),
      ),
  };
}
