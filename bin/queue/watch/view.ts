/** What the person at the terminal sees and wants: the selection, a question, and what each key does. Pure. */
import type { Message } from '../../../src/message.ts';
import { counted } from '../../output.ts';
import type { Found } from './sight.ts';
import { nameOf } from './words.ts';

/** What is to be done to the queue. */
export type Deed =
  | { type: 'pause' | 'resume' | 'retry-all' }
  | { type: 'retry' | 'cancel'; uuid: string; name: string };

/** What a key asks of the program. */
export type Wish = Deed | { type: 'quit' | 'suspend' | 'redraw' };

export interface View {
  /** By uuid: the selection stays with its message; by index: it stays at its place when that message has gone. */
  selected: { uuid: string; index: number } | undefined;
  help: boolean;
  /** Any key but y is no. */
  question: { text: string; deed: Deed } | undefined;
  /** The answer to the last key, until the next. */
  notice: string;
}

export const FIRST_VIEW: View = { selected: undefined, help: false, question: undefined, notice: '' };

/** A key press, as node:readline names it. */
export interface Key {
  name?: string | undefined;
  sequence?: string | undefined;
  ctrl?: boolean | undefined;
}

/** What there is to know for a key to mean something. Undefined: the queue is not there. */
export interface Present {
  paused: boolean;
  /** Failed messages, those not in `found` too. */
  failed: number;
  found: Found;
}

/** The messages that can be selected, from top to bottom. */
export function selectable({ working, failed }: Found): readonly Message[] {
  return [...working, ...failed];
}

/** The selection among what there is now. */
export function settled(view: View, found: Found): View {
  const messages = selectable(found);
  const { selected } = view;
  const index = messages.findIndex(({ uuid }) => uuid === selected?.uuid);
  return select(view, messages, index < 0 ? (selected?.index ?? 0) : index);
}

/** The view after a key, and what it asks for. */
export function press(view: View, key: Key, present: Present | undefined): { view: View; wish?: Wish } {
  if (key.ctrl) {
    if (key.name === 'c' || key.name === 'd') return { view, wish: { type: 'quit' } };
    if (key.name === 'z') return { view, wish: { type: 'suspend' } };
    if (key.name === 'l') return { view, wish: { type: 'redraw' } };
    return { view };
  }
  const before: View = { ...view, question: undefined, notice: '' };
  if (view.question) {
    if (key.sequence === 'y' || key.sequence === 'Y') return { view: before, wish: view.question.deed };
    return { view: { ...before, notice: 'nothing was done' } };
  }
  if (key.sequence === 'q') return { view: before, wish: { type: 'quit' } };
  // Whatever is pressed, help makes way.
  if (view.help) return { view: { ...before, help: false } };
  if (key.sequence === '?' || key.sequence === 'h') return { view: { ...before, help: true } };
  return present ? pressOn(before, key, present) : { view: before };
}

function pressOn(view: View, key: Key, present: Present): { view: View; wish?: Wish } {
  const { found } = present;
  const messages = selectable(found);
  const index = messages.findIndex(({ uuid }) => uuid === view.selected?.uuid);
  const message = messages[index];
  const say = (notice: string): { view: View } => ({ view: { ...view, notice } });
  switch (key.name === undefined || key.name.length === 1 ? key.sequence : key.name) {
    case 'up':
    case 'k':
      return { view: select(view, messages, index - 1) };
    case 'down':
    case 'j':
      return { view: select(view, messages, index + 1) };
    case 'pageup':
      return { view: select(view, messages, index - 10) };
    case 'pagedown':
      return { view: select(view, messages, index + 10) };
    case 'home':
    case 'g':
      return { view: select(view, messages, 0) };
    case 'end':
    case 'G':
      return { view: select(view, messages, messages.length - 1) };
    case 'p':
      return { view, wish: { type: present.paused ? 'resume' : 'pause' } };
    case 'r':
      if (message?.state !== 'failed') return say('select a failed message to retry it');
      return { view, wish: { type: 'retry', uuid: message.uuid, name: nameOf(message) } };
    case 'R':
      if (present.failed === 0) return say('nothing has failed');
      return ask(view, `retry ${counted(present.failed, 'failed message')}?`, { type: 'retry-all' });
    case 'c':
      if (message?.state !== 'claimed') return say('select a message that is worked on to cancel it');
      return ask(view, `cancel ${nameOf(message)}?`, {
        type: 'cancel',
        uuid: message.uuid,
        name: nameOf(message),
      });
    default:
      return { view };
  }
}

function ask(view: View, text: string, deed: Deed): { view: View } {
  return { view: { ...view, question: { text, deed } } };
}

function select(view: View, messages: readonly Message[], wanted: number): View {
  const index = Math.max(0, Math.min(messages.length - 1, wanted));
  const message = messages[index];
  return { ...view, selected: message && { uuid: message.uuid, index } };
}
