/** The commands in what people type into a shell, found without running anything. */

/** Words that may stand before a command. */
const BEFORE = /^(?:[A-Za-z_]\w*=.*|npx|sudo|until|while|do|if|then|else|!|xargs|exec|nohup)$/;

/** The words of each command, its name first, without assignments, redirections and what else is not its own. */
export function commandsOf(script: string): string[][] {
  const commands: string[][] = [[]];
  for (const word of wordsOf(script)) {
    const command = commands.at(-1)!;
    if (word === undefined) commands.push([]);
    else if (command.length > 0 || !BEFORE.test(word)) command.push(word);
  }
  return commands.filter(({ length }) => length > 0);
}

/** Undefined stands between commands. */
function wordsOf(script: string): (string | undefined)[] {
  const joined = script.replace(/\\\n/g, ' ');
  const words: (string | undefined)[] = [];
  // Quoted parts, a comment, an operator, blanks, any other character.
  const tokens = /'([^']*)'|"((?:[^"\\]|\\.)*)"|(?<![^\s;])#.*|(\$\(|[|&;()\n`])|(\s+)|\\?([^])/g;
  let word: string | undefined;
  const end = (): void => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  for (const [token, single, double, operator, blank, other] of joined.matchAll(tokens)) {
    if (operator !== undefined) {
      end();
      words.push(undefined);
    } else if (blank !== undefined || token.startsWith('#')) end();
    else word = (word ?? '') + (single ?? double ?? other ?? '');
  }
  end();
  return words;
}
