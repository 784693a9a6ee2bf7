/**
 * What is known of one message, live or ended, from the segments that are still there. What happened to a message is
 * known as far back as segments are kept; how it ended, as long as the queue remembers, or the record of it is kept.
 */
import type { Ending, Inspection } from '../backend.ts';
import type { Message } from '../message.ts';
import type { Chronicle, Standing } from './chronicle.ts';
import { Chronicler, standingOf, type Archive, type Target } from './chronicler.ts';
import { toMessage, type StoredMessage } from './contents.ts';
import { storageError } from './files.ts';
import type { Journal } from './journal.ts';
import type { OutcomeEntry } from './operations.ts';
import type { Search } from './search.ts';

/** How often the reading is begun anew because segments were deleted, or the message ended, meanwhile. */
const TRIES = 20;

/** What the state tells at one moment. */
interface Present {
  archive: Archive;
  /** The last of what is remembered that fits the target. */
  outcome: OutcomeEntry | undefined;
  /** Of a live message. */
  live: { content: StoredMessage; message: Message; standing: Standing } | undefined;
}

export class History {
  readonly #journal: Journal;
  readonly #search: Search;

  constructor(journal: Journal, search: Search) {
    this.#journal = journal;
    this.#search = search;
  }

  /**
   * Undefined when nothing is known of it. Of several messages with one alias it is the live one that is first in line,
   * else the one that ended last. Reads the segments whole. Errors: STORAGE_FAILED, JOURNAL_NEWER.
   */
  async inspect(target: Target): Promise<Inspection | undefined> {
    const { queue, folder } = this.#journal.options;
    try {
      for (let attempt = 1; ; attempt++) {
        const present = await this.#present(target);
        const { sound, inspection } = await (present.live
          ? lived(present, present.live)
          : this.#ended(target, present));
        // With a hole, if it must be.
        if (sound || attempt === TRIES) return inspection;
      }
    } catch (error) {
      throw storageError(error, 'reading the history of a message', queue, folder);
    }
  }

  async #present(target: Target): Promise<Present> {
    await this.#journal.refresh();
    const found = await this.#find(target);
    // From here on nothing is awaited: all of this is of one moment.
    const { state, options, log } = this.#journal;
    const { ports, folder } = options;
    const { id, segment, outcomes } = state;
    const uniqueAlias = state.options.uniqueAlias === true;
    const archive = { ports, folder, id, uniqueAlias, segment, end: log.applied };
    const content = found && (log.contents.read(state, found.at) ?? found);
    const message = content && toMessage(content, state, ports.clock.now());
    return {
      archive,
      outcome: outcomes.findLast(({ u, a }) => ('uuid' in target ? u === target.uuid : a === target.alias)),
      live: message && { content, message, standing: standingOf(state, content.at) },
    };
  }

  async #find(target: Target): Promise<StoredMessage | undefined> {
    if ('uuid' in target) return this.#search.byUuid(target.uuid);
    for await (const { uuid } of this.#search.messages(target)) return this.#search.byUuid(uuid);
    return undefined;
  }

  async #ended(target: Target, { archive, outcome }: Present): Promise<Answer> {
    const chronicler = new Chronicler(archive, target);
    const sound = await chronicler.read();
    const { state } = this.#journal;
    const { maxMessages, maxBytes, uniqueAlias } = state.options;
    const refuses = uniqueAlias === true || maxMessages !== undefined || maxBytes !== undefined;
    const ended = [...chronicler.chronicles.values()].filter((chronicle) => {
      chronicle.compare(standingOf(state, chronicle.at));
      if (chronicle.outcome === undefined) return false;
      if ('uuid' in target) return true;
      // An add that was refused is no message. (Who knows a uuid has it from an add that was not.)
      const proven = chronicle.proven || chronicle.uuid === outcome?.u;
      return chronicle.alias === target.alias && (proven || !refuses);
    });
    ended.sort((one, other) => one.endedAt - other.endedAt || one.at - other.at);
    let last = ended.at(-1);
    // What is remembered may have ended later, in a segment that is gone.
    if (outcome && last?.uuid !== outcome.u && outcome.t > endOf(last))
      last = ended.findLast(({ uuid }) => uuid === outcome.u);
    if (!last) return { sound, inspection: outcome && remembered(outcome) };
    if (last.complete) return { sound, inspection: told(last, outcome) };
    // It was met in its midst: now that its position is known, what came before is found too.
    const again = new Chronicler(archive);
    const chronicle = again.follow(last.at, { u: last.uuid, a: last.alias });
    const whole = await again.read();
    chronicle.compare(standingOf(state, last.at));
    return { sound: sound && whole, inspection: told(chronicle, outcome) };
  }
}

interface Answer {
  /** Whether all segments were there to be read. */
  sound: boolean;
  inspection: Inspection | undefined;
}

async function lived(
  { archive }: Present,
  { content, message, standing }: NonNullable<Present['live']>,
): Promise<Answer> {
  const chronicler = new Chronicler(archive);
  const chronicle = chronicler.follow(content.at, content.content);
  const sound = await chronicler.read();
  chronicle.compare(standing);
  const { history, complete } = chronicle;
  if (message.state !== 'failed') return { sound, inspection: { message, history, complete } };
  const failedAt = message.errors.at(-1)?.at;
  const ending: Ending = {
    uuid: message.uuid,
    alias: message.alias,
    outcome: 'failed',
    ...(failedAt === undefined ? {} : { at: new Date(failedAt) }),
  };
  return { sound, inspection: { message, ending, history, complete } };
}

/** Of a message that has ended. @param outcome the last one that is remembered of what was asked for. */
function told(chronicle: Chronicle, remembers: OutcomeEntry | undefined): Inspection {
  const { uuid, alias, outcome = 'unknown', history, complete } = chronicle;
  if (outcome !== 'unknown')
    return { ending: { uuid, alias, outcome, at: history.at(-1)!.at }, history, complete };
  if (remembers?.u === uuid) return { ...remembered(remembers), history };
  return { ending: { uuid, alias, outcome }, history, complete };
}

function remembered({ u, a, o, t }: OutcomeEntry): Inspection {
  return { ending: { uuid: u, alias: a, outcome: o, at: new Date(t) }, history: [], complete: false };
}

/** -1 when it is not known when. */
function endOf(chronicle: Chronicle | undefined): number {
  return chronicle && chronicle.endedAt >= 0 ? chronicle.history.at(-1)!.at.getTime() : -1;
}
