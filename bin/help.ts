/** How help and misuse of a command line are told: help as wide as the terminal, an error in one line. */
import { Help, type Argument, type HelpConfiguration, type OutputConfiguration } from 'commander';
import { escapeControls } from '../src/errors.ts';
import { columnsOf } from './layout.ts';
import { safe, styled } from './output.ts';

/** Longer lines are hard to read. */
const WIDEST = 100;
/** Where no terminal says otherwise. */
const USUAL = 80;
/** With less room than this beside its term, a description stands below it. */
const LEAST_BESIDE = 24;
const BELOW = 6;

export const HELP: HelpConfiguration = {
  showGlobalOptions: true,
  minWidthToWrap: 8,
  // Every verb has options: saying so at each would leave its description no room.
  subcommandTerm: (verb) => [verb.name(), ...verb.registeredArguments.map(argumentOf)].join(' '),
  formatItem: (term, termWidth, description, helper) => {
    const width = helper.helpWidth ?? USUAL;
    if (width - termWidth - 4 >= LEAST_BESIDE)
      return Help.prototype.formatItem.call(helper, term, termWidth, description, helper);
    const lines = helper.boxWrap(description, width - BELOW).split('\n');
    return [`  ${term}`, ...lines.map((line) => ' '.repeat(BELOW) + line)].join('\n');
  },
};

function argumentOf(argument: Argument): string {
  const text = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${text}>` : `[${text}]`;
}

/** Of the program named `name`, whose errors begin with that. */
export function helpOutput(name: string): OutputConfiguration {
  return {
    getOutHelpWidth: () => widthOn(process.stdout),
    getErrHelpWidth: () => widthOn(process.stderr),
    writeOut: (text) => process.stdout.write(reflowed(text, widthOn(process.stdout))),
    writeErr: (text) => process.stderr.write(safe(reflowed(text, widthOn(process.stderr)))),
    outputError: (text) =>
      process.stderr.write(`${styled('red', `${name}:`, process.stderr)} ${inOneLine(text)}\n`),
  };
}

function widthOn(stream: { isTTY?: boolean; columns?: number }): number {
  return Math.min(columnsOf(stream) ?? USUAL, WIDEST);
}

/** Text whose paragraphs fit into so many columns. What is indented, or stands alone in its line, is left as it is. */
export function reflowed(text: string, columns: number): string {
  return text.replace(/^[^\s].*(\n[^\s].*)*/gm, (paragraph) => {
    const lines: string[] = [];
    for (const word of paragraph.split(/\s+/)) {
      const last = lines.at(-1);
      if (last === undefined || last.length + 1 + word.length > columns) lines.push(word);
      else lines[lines.length - 1] = `${last} ${word}`;
    }
    return lines.join('\n');
  });
}

/** A hostile word may be long; what was expected stands at the end. */
const LONGEST_HEAD = 300;
const LONGEST_TAIL = 200;

/** @param text as commander words it: `error: …`, and perhaps a suggestion in a second line. */
function inOneLine(text: string): string {
  const [, said = '', suggestion] =
    /^(?:error: )?(.*?)(?:\n(\(Did you mean [^\n]*\)))?\s*$/s.exec(text) ?? [];
  const short =
    said.length > LONGEST_HEAD + LONGEST_TAIL
      ? `${said.slice(0, LONGEST_HEAD)}…${said.slice(-LONGEST_TAIL)}`
      : said;
  return [escapeControls(short), suggestion && escapeControls(suggestion), '(--help shows how)']
    .filter((part) => part !== undefined)
    .join(' ');
}
