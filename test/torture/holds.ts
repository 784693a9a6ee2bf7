/** Who held which message from when to when, as far as it is certain; and what follows for the settles. */
import { sure, maybe, type Call, type Delivery, type History, type Mail } from './history.ts';

/** Leases are counted in whole milliseconds, which may round off up to one. */
const ROUNDING_MS = 1;

/** When the lease ran out at the earliest; Infinity for what was taken. */
function leaseEnd({ call, settles }: Delivery): number {
  if (call.deed === 'take') return Infinity;
  const { lease } = call.asked as { lease: number };
  let began = call.from;
  for (const settle of settles)
    if (settle.asked.how === 'renew' && settle.answer === true) began = settle.from;
  return began + lease - ROUNDING_MS;
}

/** Its holder was alive and held it, without a doubt, from the end of the claim up to this time. */
function heldUntil(mail: Mail, delivery: Delivery, history: History): number {
  const { call, settles } = delivery;
  const meddling = [...mail.removes, ...mail.cancels].filter((each) => maybe(each) && each.to >= call.from);
  return Math.min(
    leaseEnd(delivery),
    history.lastSign.get(call.number)!,
    ...settles.filter(({ asked }) => asked.how !== 'renew').map(({ from }) => from),
    ...meddling.map(({ from }) => from),
  );
}

/** Pairs of deliveries, the first a claim that still held the message, without a doubt, when the second was answered. */
export function overlaps(mail: Mail, history: History): [Delivery, Delivery][] {
  const found: [Delivery, Delivery][] = [];
  // In order of their beginning.
  for (const [i, one] of mail.deliveries.entries()) {
    if (one.call.deed === 'take') continue;
    const until = heldUntil(mail, one, history);
    for (const other of mail.deliveries.slice(i + 1)) {
      const { from, to, deed } = other.call;
      const within = one.call.to <= from && to <= until;
      // Both calls went on at the same time: whichever came first, the two were held together later.
      const both =
        deed === 'claim' && Math.max(one.call.to, to) < Math.min(until, heldUntil(mail, other, history));
      if (within || both) found.push([one, other]);
    }
  }
  return found;
}

/** Why an answer to a settle cannot be right; undefined when it can. */
export function wrongSettle(mail: Mail, delivery: Delivery, settle: Call<'settle'>): string | undefined {
  const { call, settles } = delivery;
  const earlier = settles.filter(
    (each) => each !== settle && each.asked.how !== 'renew' && each.from < settle.from && maybe(each),
  );
  if (settle.answer === false) {
    const mayHaveLapsed = settle.to > leaseEnd(delivery);
    const meddled = [...mail.removes, ...mail.cancels].some(
      (each) => maybe(each) && each.to >= call.from && each.from <= settle.to,
    );
    if (mayHaveLapsed || meddled || earlier.length > 0) return undefined;
    return 'its claim had ended, though its holder lived and its lease ran';
  }
  if (settle.answer !== true) return undefined;
  if (earlier.some((each) => sure(each) && each.to <= settle.from))
    return 'the claim had been settled before';
  const stale = mail.deliveries.some(
    (other) => other !== delivery && other.call.from >= call.to && other.call.to <= settle.from,
  );
  if (stale) return 'another had been given the message meanwhile';
  const ended = [...mail.removes, ...mail.cancels].some(
    (each) => sure(each) && each.from >= call.to && each.to <= settle.from,
  );
  return ended ? 'the message had been removed or cancelled meanwhile' : undefined;
}
