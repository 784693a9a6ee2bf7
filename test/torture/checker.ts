/**
 * What may not be in the history of a round. Knows only what processes have asked and were told, and when; wherever that
 * leaves two possibilities open, both are right.
 */
import type { Given } from './diary.ts';
import { overlaps, wrongSettle } from './holds.ts';
import { finishesOf, type Finish } from './finishes.ts';
import {
  callsOf,
  is,
  maybe,
  sure,
  type Call,
  type Delivery,
  type History,
  type Mail,
  type QueueHistory,
  type Violation,
} from './history.ts';
import { checkLooks } from './looks.ts';
import { checkOrder } from './order.ts';
import { ALIASES, FLEETING } from './plan.ts';

/** A spread of time between clocks that are read one after the other. */
const CLOCKS_MS = 3;

/** @param closer the number of the process that has looked at what was left. */
export function check(history: History, closer: number): Violation[] {
  const found: Violation[] = history.faults.map((text) => ({ kind: 'other', text }));
  const queues = new Map<string, Call[]>();
  for (const call of history.calls) {
    const known = queues.get(call.queue);
    if (known) known.push(call);
    else queues.set(call.queue, [call]);
  }
  for (const { given } of history.strays)
    found.push({
      kind: 'other',
      text: `a message that nobody has added was given: ${JSON.stringify(given)}`,
    });
  for (const [name, calls] of queues) {
    const mails = [...history.mails.values()].filter(({ queue }) => queue === name);
    const queue = { name, calls, mails };
    for (const call of calls) checkError(call, found);
    for (const mail of mails) new MailCheck(mail, queue, history, found).check();
    checkPauses(queue, found);
    checkOrder(queue, found);
    checkLooks(queue, history, found);
    checkRest(queue, closer, history.ended.has(closer), found);
    if (name === ALIASES) checkAliases(queue, found);
  }
  const severity = ['lost', 'twice', 'other'];
  return found.sort((a, b) => severity.indexOf(a.kind) - severity.indexOf(b.kind));
}

function checkError({ error, queue, number, deed }: Call, found: Violation[]): void {
  if (!error) return;
  const gone = error.code === 'QUEUE_DESTROYED' || error.code === 'QUEUE_NOT_FOUND';
  if (gone && queue === FLEETING) return;
  found.push({
    kind: 'other',
    text: `process ${number}: ${deed} on ${queue}: ${error.code}: ${error.message}`,
  });
}

class MailCheck {
  readonly #mail: Mail;
  readonly #queue: QueueHistory;
  readonly #history: History;
  readonly #found: Violation[];

  constructor(mail: Mail, queue: QueueHistory, history: History, found: Violation[]) {
    this.#mail = mail;
    this.#queue = queue;
    this.#history = history;
    this.#found = found;
  }

  check(): void {
    const { deliveries, fate } = this.#mail;
    if (fate === 'duplicate' && deliveries.length > 0)
      this.#say('other', 'was refused as a duplicate, but is there');
    const finishes = finishesOf(this.#mail, this.#queue);
    const own = finishes.filter(({ how, sure }) => sure && how !== 'destroyed');
    if (own.length > 1) this.#say('twice', `ended more than once: ${own.map(({ how }) => how).join(', ')}`);
    for (const delivery of deliveries) {
      this.#checkDelivery(delivery, finishes);
      for (const settle of delivery.settles) {
        const wrong = wrongSettle(this.#mail, delivery, settle);
        if (wrong !== undefined)
          this.#say('other', `${settle.asked.how} was answered ${settle.answer}, but ${wrong}`);
      }
    }
    for (const [one, other] of overlaps(this.#mail, this.#history)) {
      this.#say(
        'twice',
        `was held by processes ${one.call.number} and ${other.call.number} at the same time`,
      );
    }
  }

  #checkDelivery({ call, given }: Delivery, finishes: readonly Finish[]): void {
    const { queue, uuid, message } = this.#mail;
    const at = `was given to process ${call.number}, call ${call.call},`;
    if (call.queue !== queue) this.#say('other', `${at} from ${call.queue}, where it never was`);
    if (uuid !== undefined && given.uuid !== uuid)
      this.#say('other', `${at} as ${given.uuid}, and was ${uuid}`);
    if (given.alias !== message.alias) this.#say('other', `${at} with another's alias ${given.alias}`);
    const finish = finishes.find(
      (each) => each.sure && each.to <= call.from && each.from > this.#mail.add.from,
    );
    if (finish) this.#say('twice', `${at} after it was ${finish.how}`);
    this.#checkVersion(given, call, at);
    const early = this.#mayNotRun(call);
    if (early !== undefined) this.#say('other', `${at} though ${early}`);
  }

  /** One that is older than an update which had been answered is stale. */
  #checkVersion({ version }: Given, call: Call, at: string): void {
    const { id, add, updates } = this.#mail;
    const own = updates.find(({ asked }) => asked.version === version);
    if (version !== id && !own)
      return this.#say('other', `${at} with a payload that it never had: ${version}`);
    const { to } = own ?? add;
    const newer = updates.find(
      (update) => update !== own && sure(update) && update.from >= to && update.to <= call.from,
    );
    if (newer)
      this.#say('other', `${at} with the stale payload ${version}: ${newer.asked.version} was newer`);
  }

  /** Why nobody may be given it in this call; undefined when it may. */
  #mayNotRun(call: Call): string | undefined {
    const { message, sets, updates, deliveries, cancels } = this.#mail;
    const freed = (since: number): boolean =>
      [...sets, ...updates].some((each) => maybe(each) && each.from <= call.to && each.to >= since);
    if (!freed(0)) {
      if (message.disabled) return 'it was disabled';
      // One that was cancelled may be retried, and then runs at once.
      if (cancels.length === 0 && message.due !== undefined && call.to < message.due - CLOCKS_MS)
        return 'it was not due';
    }
    const retried = (since: number): boolean =>
      callsOf(this.#queue.calls, 'retry').some((each) => each.from <= call.to && each.to >= since);
    for (const { settles } of deliveries) {
      for (const { asked, answer, from, to } of settles) {
        if (answer !== true || to > call.from) continue;
        if (asked.how === 'final' && !retried(from)) return 'it had failed for good';
        const due = asked.due ?? 0;
        if (asked.how === 'fail' && call.to < due - CLOCKS_MS && !freed(from) && !retried(from))
          return 'it had been put off after a failed try';
      }
    }
    const cancelled = cancels.find((each) => sure(each) && each.to <= call.from && !retried(each.from));
    return cancelled ? 'it had been cancelled' : undefined;
  }

  #say(kind: Violation['kind'], text: string): void {
    const { id, queue } = this.#mail;
    this.#found.push({ kind, text: `message ${id} of ${queue} ${text}`, id });
  }
}

/** Nothing is given while a queue is paused. */
function checkPauses({ name, calls }: QueueHistory, found: Violation[]): void {
  const resumes = callsOf(calls, 'resume');
  for (const pause of callsOf(calls, 'pause')) {
    if (!sure(pause)) continue;
    const until = Math.min(Infinity, ...resumes.filter(({ to }) => to >= pause.from).map(({ from }) => from));
    for (const call of calls) {
      if (!is(call, 'claim') || call.from < pause.to || call.to > until || !call.answer?.length) continue;
      const ids = call.answer.map(({ id }) => id).join(' ');
      found.push({ kind: 'other', text: `${name} was paused, but process ${call.number} was given ${ids}` });
    }
  }
}

/** Two unfinished messages have one alias only where it cannot be told that the first had not ended. */
function checkAliases(queue: QueueHistory, found: Violation[]): void {
  const first = new Map<string, { mail: Mail; ended: number }>();
  for (const mail of [...queue.mails].sort((a, b) => a.add.from - b.add.from)) {
    if (mail.fate !== 'added') continue;
    const { alias } = mail.message;
    const known = first.get(alias);
    if (known && known.mail.add.to <= mail.add.from && known.ended >= mail.add.to) {
      const text = `messages ${known.mail.id} and ${mail.id} of ${queue.name} have the alias ${alias} at the same time`;
      found.push({ kind: 'other', text, id: mail.id });
    }
    const ended = Math.min(Infinity, ...finishesOf(mail, queue).map(({ from }) => from));
    if (!known || known.ended < ended) first.set(alias, { mail, ended });
  }
}

/**
 * What has been acknowledged is there in the end, or it has ended.
 * @param hasSeenAll whether who looked in the end has come to every queue.
 */
function checkRest(queue: QueueHistory, closer: number, hasSeenAll: boolean, found: Violation[]): void {
  const { name, calls, mails } = queue;
  const last = callsOf(calls, 'find').find(({ number }) => number === closer);
  if (!last?.answer) {
    // It may have been destroyed; and nobody knows of a queue whose maker died over it.
    if (name === FLEETING || !hasSeenAll) return;
    if (calls.some((call) => is(call, 'create') && call.answer !== undefined))
      found.push({ kind: 'lost', text: `queue ${name} is not there in the end` });
    for (const mail of mails) if (mail.fate === 'added') sayLost(mail, found);
    return;
  }
  const left = new Set(last.answer.map(({ id }) => id));
  const missing = mails.filter(
    (mail) => mail.fate === 'added' && !left.has(mail.id) && !isAccountedFor(mail, queue),
  );
  // Completed by somebody who could not say so any more; or taken, each by one of those who died over it.
  const takers = callsOf(calls, 'take').filter(({ answer }) => answer === undefined);
  const vanished = missing.filter((mail) => !finishesOf(mail, queue).some(({ how }) => how === 'completed'));
  for (const mail of vanished.slice(takers.length)) sayLost(mail, found);
  if (name === FLEETING || vanished.length > takers.length) return;
  // How many those are the queue itself has counted.
  const status = callsOf(calls, 'status').find(({ number }) => number === closer);
  if (!status?.answer) return;
  const known = mails.filter((mail) =>
    finishesOf(mail, queue).some((each) => each.sure && each.how !== 'removed' && each.to <= last.from),
  );
  // Too low a count is told of with the others.
  const unsaid = Math.max(0, status.answer.processed - known.length);
  if (missing.length <= unsaid) return;
  const ids = missing.map(({ id }) => id).join(' ');
  const text = `${missing.length} messages of ${name} are missing, but only ${unsaid} were ended by the dead: ${ids}`;
  found.push({ kind: 'lost', text, id: missing[0]!.id });
}

/** Whether it has ended for certain, or all of its queue may have. */
function isAccountedFor(mail: Mail, queue: QueueHistory): boolean {
  return finishesOf(mail, queue).some(({ how, sure }) =>
    how === 'completed' || how === 'taken' ? sure : true,
  );
}

function sayLost({ id, queue }: Mail, found: Violation[]): void {
  const text = `message ${id} of ${queue} was acknowledged; it is not there, and nobody has ended it`;
  found.push({ kind: 'lost', text, id });
}
