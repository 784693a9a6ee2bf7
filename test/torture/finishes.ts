/** When and how messages have ended, or may have. */
import { is, maybe, sure, type Call, type Mail, type QueueHistory } from './history.ts';
import { FLEETING } from './plan.ts';

/** When and how a message has ended, or may have. */
export interface Finish {
  how: string;
  from: number;
  to: number;
  sure: boolean;
}

/** All ends that a message has, or may have come to. */
export function finishesOf({ deliveries, removes, add }: Mail, { name, calls }: QueueHistory): Finish[] {
  const finishes: Finish[] = [];
  const note = (how: string, call: Call): void => {
    if (maybe(call)) finishes.push({ how, from: call.from, to: call.to, sure: sure(call) });
  };
  for (const { call, settles } of deliveries) {
    if (call.deed === 'take') note('taken', call);
    for (const settle of settles) if (settle.asked.how === 'complete') note('completed', settle);
  }
  for (const remove of removes) note('removed', remove);
  if (name === FLEETING) {
    for (const call of calls) {
      if (call.to < add.from) continue;
      // What was claimed at that moment was not purged.
      if (is(call, 'purge')) finishes.push({ how: 'purged', from: call.from, to: call.to, sure: false });
      if (is(call, 'destroy') && maybe(call)) {
        const all = sure(call) && call.from >= add.to;
        finishes.push({ how: 'destroyed', from: call.from, to: call.to, sure: all });
      }
    }
  }
  return finishes;
}
