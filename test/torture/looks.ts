/** What those have seen who only looked: status, searches and `queue verify`, beside all that went on. */
import { finishesOf } from './finishes.ts';
import {
  callsOf,
  maybe,
  sure,
  type Call,
  type History,
  type QueueHistory,
  type Violation,
} from './history.ts';
import { FLEETING } from './plan.ts';

export function checkLooks(queue: QueueHistory, history: History, found: Violation[]): void {
  const { name, calls } = queue;
  for (const { answer, number } of callsOf(calls, 'verify')) {
    if (answer && !answer.sound)
      found.push({
        kind: 'other',
        text: `verify, process ${number}, finds ${name} damaged: ${answer.damage.join('; ')}`,
      });
  }
  const statuses = callsOf(calls, 'status').filter((call) => call.answer !== undefined);
  for (const { answer, number } of statuses) {
    if (answer!.damaged > 0)
      found.push({ kind: 'other', text: `process ${number} was told of damage in ${name}` });
    if (answer!.counts.some((count) => count < 0))
      found.push({
        kind: 'other',
        text: `process ${number} counted less than nothing in ${name}: ${answer!.counts.join(' ')}`,
      });
  }
  checkFound(queue, history, found);
  // Its counts begin anew with each that is made.
  if (name !== FLEETING) for (const status of statuses) checkCounts(queue, status, found);
}

/** What has been there all the time is found; what has ended before is not. */
function checkFound(queue: QueueHistory, { mails }: History, found: Violation[]): void {
  const { name, calls } = queue;
  const takes = callsOf(calls, 'take').filter(({ answer }) => answer === undefined);
  const finishes = new Map(queue.mails.map((mail) => [mail, finishesOf(mail, queue)]));
  for (const { number, answer, from, to } of callsOf(calls, 'find')) {
    if (!answer) continue;
    const ids = new Set<string>();
    for (const { id, uuid } of answer) {
      const mail = mails.get(id);
      const wrong =
        id === ''
          ? 'with a payload that nobody added'
          : !mail
            ? 'that nobody has added'
            : mail.queue !== name
              ? `of ${mail.queue}`
              : mail.fate === 'duplicate'
                ? 'that was refused as a duplicate'
                : ids.has(id)
                  ? 'a second time'
                  : mail.uuid !== undefined && mail.uuid !== uuid
                    ? `under another's uuid`
                    : finishes
                          .get(mail)!
                          .some((each) => each.sure && each.to <= from && each.from > mail.add.from)
                      ? 'that had ended'
                      : undefined;
      if (wrong !== undefined)
        found.push({
          kind: 'other',
          text: `process ${number} found message ${id || uuid} in ${name}, ${wrong}`,
          id,
        });
      ids.add(id);
    }
    const unseen = queue.mails.filter(
      (mail) =>
        mail.fate === 'added' &&
        mail.add.to <= from &&
        !ids.has(mail.id) &&
        !finishes.get(mail)!.some((each) => each.from <= to),
    );
    // Each of those may have taken one.
    const allowed = takes.filter((take) => take.from <= to).length;
    if (unseen.length <= allowed) continue;
    const text = `process ${number} did not find in ${name}: ${unseen.map(({ id }) => id).join(' ')}`;
    found.push({ kind: 'other', text, id: unseen[0]!.id });
  }
}

/** Counts lie between what had surely happened before the call and what may have happened by its end. */
function checkCounts({ name, calls, mails }: QueueHistory, status: Call<'status'>, found: Violation[]): void {
  const { from, to, number } = status;
  const { counts, processed } = status.answer!;
  let added = 0;
  let mayBeAdded = 0;
  let removed = 0;
  let mayBeRemoved = 0;
  let ended = 0;
  let mayHaveEnded = 0;
  for (const { add, fate, removes, deliveries } of mails) {
    if (fate === 'duplicate') continue;
    if (fate === 'added' && add.to <= from) added++;
    if (add.from < to) mayBeAdded++;
    if (removes.some((each) => sure(each) && each.to <= from)) removed++;
    if (removes.some((each) => maybe(each) && each.from < to)) mayBeRemoved++;
    const ends = deliveries.flatMap(({ call, settles }): Call[] =>
      call.deed === 'take' ? [call] : settles.filter(({ asked }) => asked.how === 'complete'),
    );
    if (ends.some((each) => sure(each) && each.to <= from)) ended++;
    if (ends.some((each) => maybe(each) && each.from < to)) mayHaveEnded++;
  }
  mayHaveEnded += callsOf(calls, 'take').filter((take) => take.answer === undefined && take.from < to).length;
  const total = counts.reduce((sum, count) => sum + count, 0) + processed;
  const say = (what: string, got: number, least: number, most: number): void => {
    const text = `status, process ${number}: ${what} of ${name} are ${got}, expected ${least} to ${most}`;
    if (got < least || got > most) found.push({ kind: 'other', text });
  };
  say('messages processed', processed, ended, mayHaveEnded);
  say('messages in all', total, added - mayBeRemoved, mayBeAdded - removed);
}
