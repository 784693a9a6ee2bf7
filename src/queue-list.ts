/** The queues that one daemon drains, as they are written in the configuration: `anpr, mails:10, webhooks=http:4x2`. */

export interface DrainedQueue {
  readonly queue: string;
  /** Of the worker. */
  readonly type: string;
  /** Messages that each of its processes handles at once; undefined: as [worker] concurrency says. */
  readonly concurrency: number | undefined;
  readonly processes: number;
}

/** What is a name of a queue, and of a type of worker. */
const NAME = '[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}';
const ENTRY = new RegExp(`^(${NAME})(?:=(${NAME}))?(?::(\\d{1,5})(?:x(\\d{1,3}))?)?$`);

/** As for `queue-worker --concurrency` and `--processes`. */
const MOST_AT_ONCE = 10_000;
const MOST_PROCESSES = 512;

export const LIST_OF_QUEUES =
  'queues with commas between, none twice, each as <queue>, <queue>:<at once> or <queue>:<at once>x<processes>, ' +
  'and with =<type> behind its name where its worker has another one';

/** Undefined when it is no such list. An empty text is an empty list. */
export function parseQueueList(text: string): readonly DrainedQueue[] | undefined {
  if (text.trim() === '') return [];
  const list = text.split(',').map((entry) => parseEntry(entry.trim()));
  const sound = list.filter((entry) => entry !== undefined);
  const names = new Set(sound.map(({ queue }) => queue));
  return names.size === list.length ? Object.freeze(sound) : undefined;
}

function parseEntry(text: string): DrainedQueue | undefined {
  const [, queue, type = queue, atOnce, count = '1'] = ENTRY.exec(text) ?? [];
  if (queue === undefined || type === undefined) return undefined;
  const concurrency = atOnce === undefined ? undefined : Number(atOnce);
  const processes = Number(count);
  const sound =
    (concurrency === undefined || (concurrency >= 1 && concurrency <= MOST_AT_ONCE)) &&
    processes >= 1 &&
    processes <= MOST_PROCESSES;
  return sound ? Object.freeze({ queue, type, concurrency, processes }) : undefined;
}
