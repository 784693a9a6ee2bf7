/** What is told of a failed round: each violation, and of the messages concerned everything that was asked and answered. */
import type { Call, History, Violation } from './history.ts';

/** Of so many messages the whole story is told. */
const STORIES = 10;

export function account(violations: readonly Violation[], history: History): string[] {
  const lines = violations.map(({ kind, text }) => `${kind}: ${text}`);
  const ids = [...new Set(violations.flatMap(({ id }) => id ?? []))].slice(0, STORIES);
  for (const id of ids) lines.push('', `message ${id}:`, ...storyOf(id, history).map((line) => `  ${line}`));
  return lines;
}

function storyOf(id: string, { calls, mails }: History): string[] {
  const mail = mails.get(id);
  if (!mail) return ['nobody has added it'];
  const { add, deliveries, updates, sets, removes, cancels } = mail;
  const settles = deliveries.flatMap((delivery) => delivery.settles);
  const own: Call[] = [add, ...deliveries.map(({ call }) => call), ...settles];
  const all = [...own, ...updates, ...sets, ...removes, ...cancels].sort((a, b) => a.from - b.from);
  const start = calls[0]!.from;
  return all.map(({ number, call, deed, from, to, asked, answer, error }) => {
    const span = `${(from - start).toFixed(3)} to ${(to - start).toFixed(3)} ms`;
    const result = error
      ? `${error.code}: ${error.message}`
      : answer === undefined
        ? 'no answer'
        : brief(answer, id);
    const what = deed === 'add' ? '' : ` ${JSON.stringify(asked)}`;
    return `${span}: process ${number}, call ${call}: ${deed}${what}: ${result}`;
  });
}

/** Of an answer about many messages, only what it says of this one. */
function brief(answer: Call['answer'], id: string): string {
  const part = Array.isArray(answer) ? answer.filter((one) => one.id === id) : answer;
  return JSON.stringify(part);
}
