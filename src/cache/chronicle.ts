/**
 * What the records of the log have done to one message. It is followed by the one transition function, without the
 * rest of the queue, so of some records it cannot be told at once whether they had an effect: a claim that names more
 * messages than it takes, an update to an alias that another message may have. Then both courses are followed until
 * something tells: a record that only one of them leads to, a head, or how the message stands now.
 */
import type { HistoryEvent } from '../backend.ts';
import { born, transition, type Happening, type Life, type Outcome, type TryError } from '../message.ts';
import type { Content, Operation } from './operations.ts';
import { position, segmentOf } from './position.ts';
import type { Header } from './state.ts';

/** The records that name messages, or concern them all. */
export type Telling = Extract<
  Header,
  {
    op:
      | 'claim'
      | 'renew'
      | 'done'
      | 'fail'
      | 'release'
      | 'lapse'
      | 'update'
      | 'set'
      | 'cancel'
      | 'remove'
      | 'retry'
      | 'purge';
  }
>;

/** One record, as it concerns one message. */
export interface Tidings {
  header: Telling;
  /** Of the record in the log. */
  position: number;
  /** Of the process that wrote it. */
  pid: number | undefined;
  /** The how-manieth of the messages that it names. */
  index: number;
  /** The due time that a claim names for it. */
  due: number | undefined;
  /** Of `fail`, `lapse` and `cancel`. */
  error: TryError | undefined;
  /** An update's: what it refers to may have been lost, so it counts. A purge's: it may have spared the message. */
  damaged: boolean;
}

/**
 * How a message stands, as a head or the present state tells; undefined: it is not in the queue (any more). The alias is
 * told where aliases are unique.
 */
export type Standing = { life: Life; place: number; alias: string | undefined } | 'fresh' | undefined;

/** The events of a course, newest first: courses share what came before they parted. */
interface Step {
  readonly event: HistoryEvent;
  readonly before: Step | undefined;
}

/** One way in which things may have gone. */
interface Course {
  /** `unseen`: nothing has told yet how it stands; `lost`: it has gone, and nothing tells how. */
  readonly life: Life | Outcome | 'unseen' | 'lost';
  /** Of the last claim that was granted, and the alias that its holder saw. */
  readonly token: string | undefined;
  readonly claimedAs: string;
  /** Of the record that holds its content. */
  readonly place: number;
  readonly alias: string;
  readonly last: Step | undefined;
  /** Position of the record that ended it, else -1. */
  readonly endedAt: number;
}

/** Workers that contend may leave many claims in doubt; beyond this the oldest doubts are dropped. */
const MOST_COURSES = 256;

export class Chronicle {
  readonly at: number;
  readonly uuid: string;
  /** Nothing that has happened to it is missing from its history. */
  complete = false;
  /** Its add was not refused: something refers to it as to a message of the queue. */
  proven = false;
  readonly #uniqueAlias: boolean;
  #courses: Course[];

  constructor(at: number, { u, a = '' }: Content, uniqueAlias: boolean) {
    this.at = at;
    this.uuid = u;
    this.#uniqueAlias = uniqueAlias;
    this.#courses = [
      { life: 'unseen', token: undefined, claimedAs: a, place: at, alias: a, last: undefined, endedAt: -1 },
    ];
  }

  /** The likeliest that is left: most updates had an effect, and claims that had one are spoken of later. */
  get #course(): Course {
    return this.#courses[0]!;
  }
  get alias(): string {
    return this.#course.alias;
  }
  /** Undefined while it is in the queue; `unknown`: it is not, and nothing tells how it ended. */
  get outcome(): Outcome | 'unknown' | undefined {
    const { life } = this.#course;
    if (typeof life === 'object') return undefined;
    return life === 'unseen' || life === 'lost' ? 'unknown' : life;
  }
  /** Position of the record that ended it, else -1. */
  get endedAt(): number {
    return this.#course.endedAt;
  }
  /** Oldest first. */
  get history(): HistoryEvent[] {
    const events: HistoryEvent[] = [];
    for (let step = this.#course.last; step; step = step.before) events.push(step.event);
    return events.reverse();
  }

  /** Its add has been met. */
  begin({ a = '', d, x, t }: Header & { op: 'add' }, pid: number | undefined): void {
    const event = eventOf('added', t, pid, d);
    const last = { event, before: undefined };
    this.#courses = [{ ...this.#course, life: born(d, x === 1), alias: a, last }];
    this.complete = true;
  }

  /** A record that names it, or concerns all messages. */
  meet(tidings: Tidings): void {
    const { header: h, index } = tidings;
    if (h.op !== 'purge' && h.op !== 'retry') this.proven = true;
    if ('k' in h && h.op !== 'claim') this.#prefer(({ token }) => token === h.k);
    switch (h.op) {
      case 'claim': {
        const token = `${h.w}.${h.k}`;
        // With so many before it that the claim may have been used up, it depends on them.
        return this.#happen(tidings, { type: 'claim', token, due: tidings.due }, index < h.max, (course) => ({
          token,
          claimedAs: course.alias,
        }));
      }
      case 'renew':
        return this.#happen(tidings, { type: 'renew', token: h.k });
      case 'done': {
        const alias = h.a[index] ?? '';
        this.#prefer(({ claimedAs }) => claimedAs === alias);
        return this.#happen(tidings, { type: 'complete', token: h.k }, true, () => ({ alias }));
      }
      case 'fail':
        return this.#happen(tidings, { type: 'fail', token: h.k, error: tidings.error!, due: h.d });
      case 'release':
        return this.#happen(tidings, { type: 'release', token: h.k });
      case 'lapse':
        return this.#happen(tidings, ({ attempts }) => ({
          type: 'lapse',
          token: h.k,
          renewal: h.r,
          final: h.f === 1,
          error: { ...tidings.error!, attempt: attempts },
        }));
      case 'update':
        return this.#update(tidings, h);
      case 'set':
        return this.#happen(tidings, rescheduling(h));
      case 'cancel':
        return this.#happen(tidings, ({ attempts }) => ({
          type: 'cancel',
          error: { ...tidings.error!, attempt: attempts },
        }));
      case 'remove': {
        const alias = h.a ?? '';
        this.#prefer((course) => course.alias === alias);
        return this.#happen(tidings, { type: 'remove' }, true, () => ({ alias }));
      }
      case 'retry':
        return this.#happen(tidings, { type: 'retry' });
      case 'purge':
        return this.#happen(tidings, { type: 'purge' }, !tidings.damaged);
    }
  }

  #update(tidings: Tidings, h: Telling & { op: 'update' }): void {
    const at = position(...h.at);
    // Its writer had seen the content there: so whatever came before that is over.
    if (this.#courses.some(({ place }) => place === at)) this.#prefer(({ place }) => place >= at);
    this.#each((course) => {
      if (course.place !== at && !tidings.damaged) return [course];
      const alias = h.a ?? '';
      const updated = happen(course, rescheduling(h), tidings, { place: tidings.position, alias });
      if (!updated) return [course];
      const certain = !this.#uniqueAlias || alias === '' || alias === course.alias;
      return certain ? [updated] : [updated, course];
    });
  }

  /**
   * What a head, or the present state, says of it.
   * @param head the segment whose head it is: contents may have been carried there. @param gap whether records before it
   * are missing.
   */
  compare(standing: Standing, head?: number, gap = false): void {
    const [first] = this.#courses;
    if (standing === undefined) {
      this.#prefer(({ life }) => typeof life !== 'object');
      if (typeof this.#course.life === 'string') return;
      this.#courses = [{ ...first!, life: 'lost' }];
      this.complete = false;
      return;
    }
    this.proven = true;
    if (standing === 'fresh') {
      // Nothing has happened to it since it was added, whatever is missing.
      const fresh = this.#courses.find(({ last }) => last?.before === undefined) ?? first!;
      const life = typeof fresh.life === 'object' ? fresh.life : born(undefined, false);
      this.#courses = [{ ...fresh, life }];
      return;
    }
    const { life, place, alias } = standing;
    const found = this.#courses.find(
      (course) =>
        (course.place === place || segmentOf(place) === head) &&
        (alias === undefined || course.alias === alias) &&
        agree(course.life, life),
    );
    if (!found || gap) this.complete = false;
    const token = life.phase.state === 'claimed' ? life.phase.token : (found ?? first!).token;
    this.#courses = [{ ...(found ?? first!), life, place, token }];
  }

  /**
   * Lets all courses take what has happened. @param certain whether it has, where the message's life allows it.
   * @param more what else changes then.
   */
  #happen(
    tidings: Tidings,
    happening: Happening | ((life: Life) => Happening),
    certain = true,
    more: (course: Course) => Partial<Course> = () => ({}),
  ): void {
    this.#each((course) => {
      const after = happen(course, happening, tidings, more(course));
      if (!after) return [course];
      return certain ? [after] : [course, after];
    });
  }

  #each(follow: (course: Course) => Course[]): void {
    const [first, ...others] = this.#courses.flatMap(follow);
    this.#courses = [first!, ...others.slice(1 - MOST_COURSES)];
  }

  /** Drops the courses for which it does not hold, if it holds for any. */
  #prefer(holds: (course: Course) => boolean): void {
    const kept = this.#courses.filter(holds);
    if (kept.length > 0) this.#courses = kept;
  }
}

/** A renewal is no event of its own: there may be thousands. */
const NAMES: Readonly<Record<Happening['type'], HistoryEvent['event'] | undefined>> = {
  claim: 'claimed',
  renew: undefined,
  complete: 'completed',
  fail: 'failed',
  release: 'released',
  lapse: 'lapsed',
  cancel: 'cancelled',
  retry: 'retried',
  update: 'updated',
  remove: 'removed',
  purge: 'purged',
};

/** The course after that; undefined when it changes nothing in this one. */
function happen(
  course: Course,
  what: Happening | ((life: Life) => Happening),
  { header, position: at, pid }: Tidings,
  more: Partial<Course>,
): Course | undefined {
  const { life, last } = course;
  const happening =
    typeof what === 'function' ? what(typeof life === 'object' ? life : born(undefined, false)) : what;
  const after = typeof life === 'object' ? transition(life, happening) : afterUnseen(course, happening);
  if (after === undefined) return undefined;
  const name = NAMES[happening.type];
  const due = happening.type === 'fail' || happening.type === 'update' ? happening.due : undefined;
  const error = 'error' in happening ? happening.error : undefined;
  const step = name && { event: eventOf(name, header.t, pid, due, error), before: last };
  return {
    ...course,
    ...more,
    life: after,
    last: step ?? last,
    endedAt: typeof after === 'string' ? at : -1,
  };
}

/** Only an end can be told of a message of which nothing is known. */
function afterUnseen({ life }: Course, { type }: Happening): Outcome | undefined {
  if (life !== 'unseen') return undefined;
  return type === 'complete' ? 'completed' : type === 'remove' ? 'removed' : undefined;
}

function eventOf(
  event: HistoryEvent['event'],
  at: number,
  pid: number | undefined,
  due: number | null | undefined,
  error?: TryError,
): HistoryEvent {
  return {
    at: new Date(at),
    event,
    ...(pid === undefined ? {} : { pid }),
    ...(error === undefined ? {} : { error }),
    ...(typeof due === 'number' ? { due: new Date(due) } : {}),
  };
}

function rescheduling({ d, x }: Extract<Operation, { op: 'set' | 'update' }>): Happening {
  return { type: 'update', due: d, disabled: x === undefined ? undefined : x === 1 };
}

function agree(life: Course['life'], other: Life): boolean {
  if (typeof life !== 'object') return false;
  const told = ({ phase, disabled, attempts, crashes }: Life): string =>
    JSON.stringify([phase, disabled, attempts, crashes]);
  return told(life) === told(other);
}
