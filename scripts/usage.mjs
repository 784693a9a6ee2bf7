/** `--help`, and what is not understood: the same in all commands for those who work on Coda. */

const EXIT_USAGE = 64;
/** What Node advises of arguments that begin with a dash helps nobody here. */
const ADVICE = /\. To specify |\n(Did you|To specify) /;

/** Prints `usage` and returns the exit code when `args` ask for it; undefined when they do not. */
export function helped(args, usage) {
  if (!args.includes('--help') && !args.includes('-h')) return undefined;
  console.log(usage);
  return 0;
}

/** Says to stderr in one line what is wrong, then the first lines of `usage`. Returns the exit code. */
export function misused(command, problem, usage) {
  const line = problem.split(ADVICE, 1)[0].replace(/[\p{C}\u2028\u2029]/gu, escaped);
  console.error(`${command}: ${line}\n${usage.split('\n\n', 1)[0]}\n--help says more`);
  return EXIT_USAGE;
}

function escaped(character) {
  return `\\u${character.codePointAt(0).toString(16).padStart(4, '0')}`;
}
