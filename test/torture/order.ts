/**
 * Order at claim. A message to which nothing has happened since it was added could be given to whoever asked; so nobody who
 * asked later than its add was answered, and was answered before somebody else asked and got it, may have got one that
 * stands behind it.
 */
import { is, type Call, type Mail, type QueueHistory, type Violation } from './history.ts';

type Position = [segment: number, offset: number];

function isBehind(one: Position, other: Position): boolean {
  return one[0] > other[0] || (one[0] === other[0] && one[1] > other[1]);
}

export function checkOrder({ name, calls, mails }: QueueHistory, found: Violation[]): void {
  const claims = calls.filter((call): call is Call<'claim'> => is(call, 'claim') && !!call.answer?.length);
  for (const { answer, number } of claims) {
    const places = answer!.map(({ at }) => at!);
    if (places.some((at, i) => i > 0 && !isBehind(at, places[i - 1]!)))
      found.push({ kind: 'other', text: `process ${number} was given messages of ${name} out of order` });
  }
  for (const mail of mails) {
    const window = waiting(mail);
    if (!window) continue;
    for (const claim of claims) {
      if (claim.from <= window.from) continue;
      if (claim.from >= window.to) break;
      if (claim.to >= window.to) continue;
      const passed = claim.answer!.find(({ at }) => isBehind(at!, window.at));
      if (!passed) continue;
      const text = `message ${mail.id} of ${name} was passed over when process ${claim.number} was given ${passed.id}`;
      found.push({ kind: 'other', text, id: mail.id });
      break;
    }
  }
}

/** The time in which a message surely was ready, and its position. */
function waiting({
  message,
  fate,
  add,
  deliveries,
  sets,
  updates,
  cancels,
  removes,
}: Mail): { from: number; to: number; at: Position } | undefined {
  const [first] = deliveries;
  const plain = message.due === undefined && !message.disabled && fate === 'added';
  const untouched = [sets, updates, cancels, removes].every((calls) => calls.length === 0);
  if (!first?.given.at || !plain || !untouched || first.given.crashes > 0) return undefined;
  return { from: add.to, to: first.call.from, at: first.given.at };
}
