/** The calls of every command that are right, and all that is wrong in the place of each of their words. */
import { ALIAS, HOSTILE } from './hostile-queue.ts';

interface Case {
  /** A call that is right, for a queue, arguments first: what it is tried with is hostile all the same. */
  right(queue: string): string[];
  /** Its exit code, when it is not 0. */
  code?: number;
  /** It goes on until nobody reads it any more. */
  endless?: true;
  /** A queue that does not exist is created. */
  creates?: true;
}

const CASES: Readonly<Record<string, Case>> = {
  'queue-worker': { right: (queue) => [queue, '--drain'], creates: true },
  create: { right: (queue) => [queue], creates: true },
  add: { right: (queue) => [queue, JSON.stringify(HOSTILE), '--alias', HOSTILE, '--user', HOSTILE] },
  status: { right: (queue) => [queue] },
  watch: { right: (queue) => [queue, '--interval', '100ms'], endless: true },
  list: { right: () => [] },
  get: { right: (queue) => [queue] },
  find: { right: (queue) => [queue] },
  show: { right: (queue) => [queue, ALIAS.failed] },
  wait: { right: (queue) => [queue, ALIAS.completed] },
  update: { right: (queue) => [queue, ALIAS.ready, '--user', HOSTILE] },
  enable: { right: (queue) => [queue, ALIAS.disabled] },
  disable: { right: (queue) => [queue, ALIAS.ready] },
  verify: { right: (queue) => [queue] },
  repair: { right: (queue) => [queue, '--dry-run'] },
  check: { right: (queue) => [queue], code: 1 },
  retry: { right: (queue) => [queue, ALIAS.failed] },
  cancel: { right: (queue) => [queue, ALIAS.claimed, '--reason', HOSTILE] },
  remove: { right: (queue) => [queue, ALIAS.ready, '--yes'] },
  pause: { right: (queue) => [queue] },
  resume: { right: (queue) => [queue] },
  purge: { right: (queue) => [queue, '--yes'] },
  destroy: { right: (queue) => [queue, '--yes'] },
  attr: { right: (queue) => [queue, `${HOSTILE}=${HOSTILE}`] },
  completion: { right: () => ['bash'] },
};
export const NAMES = Object.keys(CASES);
/** All but one open queues, as the configuration says. */
export const OPENING = NAMES.filter((name) => name !== 'completion');
export const OF_A_QUEUE = OPENING.filter((name) => name !== 'list');

export const LONG = 'x'.repeat(100_000);
/** Values of options that are none, by what stands for the value in help. */
const BAD: Readonly<Record<string, readonly string[]>> = {
  n: ['-1', '1.5', '', '1e3', HOSTILE, '99999999999999999999', LONG],
  duration: ['5', '-1s', '', '10y', HOSTILE, `${'9'.repeat(30)}d`],
  when: ['tomorrow', '2026-02-30', '', HOSTILE, '2026-13-01T00:00', '12'],
  size: ['-1', '1XB', '', HOSTILE, '0'],
  json: ['{bad', HOSTILE, '', "{'a':1}"],
  state: ['READY', HOSTILE],
  command: ["'unclosed", '', `/nowhere/${HOSTILE}`],
  file: ['nowhere.ndjson', '/', `nowhere${HOSTILE}`, ''],
  dir: ['', `file/${HOSTILE}`],
};
/** Of those where that does not tell; none where any text will do. */
const BAD_FOR: Readonly<Record<string, readonly string[]>> = {
  '--config': [''],
  '--cache-root': [''],
  '--durability': ['never', HOSTILE],
  '--log-level': ['LOUD', HOSTILE],
  '--queue': ['../x', HOSTILE],
  'add --alias': ['x'.repeat(1025)],
  'add --user': ['\u20ac'.repeat(342)],
  'update --alias': ['x'.repeat(1025)],
  'update --user': ['\u20ac'.repeat(342)],
  'find --alias': [],
  'find --user': [],
  'find --text': [],
  'cancel --reason': [],
};
/** Of so many values of a kind each option is tried with two, the next with the next two. */
export const TRIED = 2;
/** The exit codes for them, where it is not 64. */
export const CODE_FOR: Readonly<Record<string, number>> = {
  '--data': 1,
  'add --alias': 1,
  'add --user': 1,
  'update --alias': 1,
  'update --user': 1,
};
export const COMMON = new Set(['--config', '--cache-root', '--durability', '--version', '--help']);

/** Arguments that are none, with their exit codes. */
export const BAD_ARGUMENT: Readonly<Record<string, readonly (readonly [text: string, code: number])[]>> = {
  '<queue>': [[`../${HOSTILE}`, 64]],
  '[queue...]': [[`../${HOSTILE}`, 64]],
  '<type>': [
    [`../${HOSTILE}`, 64],
    ['mials', 64],
  ],
  '<target>': [
    ['', 64],
    [`nobody ${HOSTILE}`, 1],
  ],
  '<targets...>': [
    ['', 64],
    [`nobody ${HOSTILE}`, 1],
  ],
  '[targets...]': [
    ['', 64],
    [LONG, 1],
  ],
  '[data]': [
    ['{"a"', 1],
    [`{"\u001b]0;":${HOSTILE}}`, 1],
  ],
  '[attributes...]': [
    ['=1', 64],
    ['', 64],
  ],
  '[shell]': [[HOSTILE, 64]],
};

/** Undefined when nobody has thought of any. */
export function badValuesOf(name: string, flag: string, value: string): readonly string[] | undefined {
  return BAD_FOR[`${name} ${flag}`] ?? BAD_FOR[flag] ?? BAD[value];
}

export function caseOf(name: string): Case {
  const found = CASES[name];
  if (!found) throw new Error(`no case for ${name}`);
  return found;
}
