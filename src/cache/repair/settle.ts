/**
 * What becomes of messages of which the log alone does not tell, once it has been followed to its end: those whose records do not
 * stand where they were written, those whose content cannot be read, and those that a damaged record has changed or ended.
 */
import { Contents } from '../contents.ts';
import type { Change } from '../legible.ts';
import { freeBeside, type Moved } from '../moved.ts';
import type { Place } from '../operations.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import type { QueueState } from '../state.ts';
import { lostGaps } from '../survey.ts';
import { SegmentTable } from '../table.ts';
import type { Evidence } from './evidence.ts';
import type { Ghost } from './ghost.ts';
import type { Hearsay } from './hearsay.ts';
import type { Losses } from './losses.ts';
import { changedBy, findByUuid, findEnds, type LostChange } from './lost-changes.ts';
import { findContents, findUnreadable, outdatedError, type Copy } from './lost-contents.ts';
import { mostEnded } from './untold.ts';

export interface Case {
  evidence: Evidence;
  losses: Losses;
  hearsay: Hearsay;
  /** Is changed. */
  state: QueueState;
  /** Likewise: positions of messages that are kept although they may have ended. */
  doubtful: Set<number>;
}

interface Settled {
  /** How many others of those that are kept may have ended: nothing tells which. */
  unnamed: number;
  /** Messages of which only an earlier content is left; they stand as failed. */
  outdated: [segment: number, offset: number][];
}

/** Errors: those of node:fs. */
export async function settle(on: Case): Promise<Settled> {
  revive(on);
  const { found, unread, latest } = await settleMoved(on);
  const outdated = await settleContents(on, unread);
  dropTwins(on, found, unread);
  const changed = await settleChanges(on, outdated, latest);
  return { unnamed: changed.unnamed, outdated: [...outdated, ...changed.outdated] };
}

/** A message more waits in a segment that has moved: which one, its own records tell. */
export function expectMoved({ evidence, losses, state }: Case, segment: number): void {
  losses.expectOne(segment);
  if (state.tables.has(segment)) return;
  const { from } = evidence.moved.segments.get(segment)!;
  state.restoreTable(SegmentTable.unread(segment, 0, 0, from > 0 ? [0, from - 1] : []));
}

interface SettledMoved extends Pick<Moved, 'found' | 'unread'> {
  /** By the positions of the messages: where the updates stand that they hold. */
  latest: Map<number, number>;
}

/** What had come behind a seal, and was written again, is still there. */
function revive({ losses, hearsay, state }: Case): void {
  for (const uuid of losses.untold(state, hearsay).values()) hearsay.revive(uuid, state);
}

/** Of the messages that have moved, those that a record names as ended have; the others may have. */
async function settleMoved(on: Case): Promise<SettledMoved> {
  const { evidence, losses, hearsay, state, doubtful } = on;
  const { ports, folder, moved } = evidence;
  const latest = new Map<number, number>();
  if (moved.segments.size === 0 || state.id === '') return { found: new Map(), unread: new Set(), latest };
  const { found, twins, others, unread } = moved.messages(ports, folder, state);
  for (const at of twins) state.happen(at, { type: 'remove' });
  const last = await findByUuid(ports, folder, state, new Set(found.keys()));
  for (const [uuid, at] of found) {
    // It had come behind the seal, which is missing, and was written again.
    if ((last.get(uuid) ?? at) !== at) {
      state.happen(at, { type: 'remove' });
      found.delete(uuid);
      continue;
    }
    const ghost = hearsay.of(uuid);
    // Told of by where it stood, with an update that has moved as well, it would be there twice.
    if (ghost?.update && unread.has(ghost.at)) state.happen(ghost.at, { type: 'remove' });
    if (ghost && !live(state, at, ghost)) continue;
    doubtful.add(at);
    if (ghost?.update) latest.set(at, ghost.update.place);
  }
  const { uuids } = moved;
  for (const ghost of hearsay.displaced) {
    const { at: stood, uuid, update } = ghost;
    if (!update || uuids.has(uuid!) || others.has(uuid!) || unread.has(stood)) continue;
    const life = ghost.lifeFrom();
    if (!life) continue;
    // What added it is missing.
    losses.account(stood);
    const { header, place, length, headerLength } = update;
    const alias = state.options.uniqueAlias ? header.a : undefined;
    const at = freeBeside(state, stood);
    state.restore(at, life, place, length, headerLength, ghost.lease, alias);
    latest.set(at, place);
    doubtful.add(at);
  }
  await settleOverlooked(on, unread, latest);
  state.recount();
  return { found, unread, latest };
}

/** Unless more has been made of a message than what it had held before such an update, this is what it holds. */
async function settleOverlooked(
  { evidence, hearsay, state }: Case,
  unread: ReadonlySet<number>,
  latest: Map<number, number>,
): Promise<void> {
  const { overlooked } = hearsay;
  const copies = await copiesOf(evidence, new Set(overlooked.keys()));
  const contents = new Contents(evidence.ports.fs, evidence.folder);
  for (const [at, { header, place, length, headerLength }] of overlooked) {
    const held = state.lifeOf(at) && !unread.has(at) ? contents.read(state, at) : undefined;
    if (held?.content.u !== header.u || held.place === place) continue;
    // A head may have carried it.
    const isOlder = copies.get(at)?.some((copy) => {
      return copy.place < place && contents.readFrom(at, copy.place, copy.length)?.json === held.json;
    });
    if (!isOlder) continue;
    const { d: due, x, a } = header;
    state.happen(at, { type: 'update', due, disabled: x === undefined ? undefined : x === 1 });
    const life = state.lifeOf(at)!;
    const lease = state.touched.get(at)?.lease;
    state.happen(at, { type: 'remove' });
    state.restore(at, life, place, length, headerLength, lease, state.options.uniqueAlias ? a : undefined);
    latest.set(at, place);
  }
  contents.close();
}

/** A message that is there as it was added becomes what records that name it otherwise have made of it. False: it has ended. */
function live(state: QueueState, at: number, ghost: Ghost): boolean {
  const life = ghost.lifeFrom(state.lifeOf(at));
  const alias = ghost.update && state.options.uniqueAlias ? ghost.update.header.a : state.aliasOf(at);
  // So that it stands by itself.
  state.happen(at, { type: 'update' });
  const held = ghost.update ?? state.touched.get(at);
  state.happen(at, { type: 'remove' });
  if (!life || !held) return false;
  const { place, length, headerLength } = held;
  state.restore(at, life, place, length, headerLength, ghost.lease, alias);
  return true;
}

/** Messages whose content cannot be read: another copy of it, an earlier one, or none. */
async function settleContents(on: Case, unread: ReadonlySet<number>): Promise<Settled['outdated']> {
  const { evidence, losses, hearsay, state } = on;
  const { ports, folder, moved } = evidence;
  const unreadable = await findUnreadable(ports, folder, state);
  // What can be read there may be another's.
  for (const at of unread) if (state.touched.has(at)) unreadable.add(at);
  if (unreadable.size === 0) return [];
  const copies = await copiesOf(evidence, unreadable);
  const outdated: Settled['outdated'] = [];
  for (const at of unreadable) {
    const { place = at, length } = state.touched.get(at) ?? {};
    const found = (copies.get(at) ?? []).filter(
      (copy) => copy.place !== place && (copy.op !== 'add' || !moved.has(copy.place)),
    );
    // What an add holds, a head that carried it holds as well, and one that came behind a seal.
    const same = place === at ? (found.find(({ op }) => op === 'carry') ?? hearsay.voidAt(at)) : undefined;
    const other = found.at(-1);
    const copy = same ?? other;
    if (!copy) {
      // What added it waits by its uuid, if it is there.
      const mayWait = moved.has(at) && state.tables.has(segmentOf(at));
      if (!mayWait) losses.lose(at, place);
      state.happen(at, { type: 'remove' });
      if (mayWait) losses.expectOne(segmentOf(at));
      continue;
    }
    state.carry(at, copy.place, copy.length, copy.headerLength);
    if (!same && other && !isVery(evidence, other, place, length)) outdated.push(failOutdated(on, at, place));
  }
  return outdated;
}

/** Those that were not known to be the same until their contents had been found. */
function dropTwins(
  { evidence, state }: Case,
  found: ReadonlyMap<string, number>,
  unread: ReadonlySet<number>,
): void {
  if (found.size === 0 || unread.size === 0) return;
  const contents = new Contents(evidence.ports.fs, evidence.folder);
  for (const at of unread) {
    const uuid = state.touched.has(at) ? contents.read(state, at)?.content.u : undefined;
    const copy = uuid === undefined ? undefined : found.get(uuid);
    if (copy !== undefined) state.happen(copy, { type: 'remove' });
  }
  contents.close();
}

/**
 * What damaged records have done of which no head knows. Messages that they, or sound ones beside them to no effect, say to have
 * ended may have; those that they updated later than any other record stand as failed. `known`: those that do already.
 */
async function settleChanges(
  on: Case,
  known: Settled['outdated'],
  latest: SettledMoved['latest'],
): Promise<Settled> {
  const { evidence, losses, state, doubtful } = on;
  const { ports, folder, moved, surveys } = evidence;
  const ended = new Set<string>();
  const changes: LostChange[] = [];
  let unnamed = 0;
  // Without those in which other messages may stand by now.
  const placesIn = ({ places }: Change): Place[] => places.filter((place) => !moved.has(position(...place)));
  for (const [segment, survey] of surveys) {
    const open = survey.bad.filter((range) => losses.isOpen(segment, survey, range));
    for (const { from, change } of open)
      if (change) changes.push({ ...change, places: placesIn(change), at: position(segment, from) });
    unnamed += open.reduce((sum, range) => sum + mostEnded(range), 0);
    const holes = losses.knownHolesIn(segment);
    if (open.length === 0 && holes.length === 0 && lostGaps(survey).length === 0) continue;
    const purged = (await evidence.reading(segment, (fd) => findEnds(ports, fd, ended))) ?? -1;
    // Behind a hole it has spared what may have been claimed there.
    for (const { from, to } of holes)
      if (from < purged) changes.push({ what: 'purge', uuids: [], places: [], at: position(segment, to) });
  }
  const wanted = new Set([...ended, ...changes.flatMap(({ uuids }) => uuids)]);
  const found = await findByUuid(ports, folder, state, wanted);
  for (const at of [...ended].flatMap((uuid) => found.get(uuid) ?? [])) doubtful.add(at);
  const updated = new Map<number, number>();
  // The last purge may have ended whatever one before it may.
  const purges = changes.filter(({ what }) => what === 'purge');
  const lastPurge = purges.reduce((last, { at }) => Math.max(last, at), 0);
  for (const change of changes) {
    if (change.what === 'purge' && change.at < lastPurge) continue;
    for (const at of changedBy(change, found, state))
      if (change.what !== 'update') doubtful.add(at);
      else updated.set(at, Math.max(change.at, updated.get(at) ?? 0));
  }
  for (const [segment, offset] of known) updated.delete(position(segment, offset));
  const copies = await copiesOf(evidence, new Set(updated.keys()));
  const isOutdated = (at: number, place: number): boolean => {
    if ((latest.get(at) ?? 0) > place) return false;
    return !copies.get(at)?.some((copy) => copy.op === 'update' && copy.place > place);
  };
  const outdated = [...updated]
    .filter(([at, place]) => isOutdated(at, place))
    .map(([at, place]) => failOutdated(on, at, place));
  return { unnamed, outdated };
}

/** What there is in all segments of what those messages hold, or have held. */
async function copiesOf(evidence: Evidence, messages: ReadonlySet<number>): Promise<Map<number, Copy[]>> {
  const copies = new Map<number, Copy[]>();
  if (messages.size > 0)
    await evidence.readingAll((fd, segment) => findContents(evidence.ports, fd, segment, messages, copies));
  for (const [at, some] of copies)
    copies.set(
      at,
      some.filter(({ place }) => !evidence.isRepeated(place)),
    );
  return copies;
}

/** So that somebody looks at it before it is worked on: what it should hold stood at `place`. */
function failOutdated({ evidence, state }: Case, at: number, place: number): Settled['outdated'][number] {
  state.happen(at, { type: 'cancel', error: outdatedError(place, evidence.ports.clock.now()) });
  return [segmentOf(at), offsetOf(at)];
}

/**
 * Whether the copy is the very record that stood at `place`: it has moved as far as the end of its segment has, and no record is
 * missing behind it that may have been a later one.
 */
function isVery(evidence: Evidence, copy: Copy, place: number, length: number | undefined): boolean {
  const segment = segmentOf(place);
  const offset = offsetOf(copy.place);
  if (segmentOf(copy.place) !== segment || copy.length !== length) return false;
  // A head carries a content once.
  if (copy.op === 'carry') return true;
  const shift = evidence.shiftOf(segment);
  const isThere = shift !== 0 && offset - offsetOf(place) === shift;
  return isThere && evidence.surveys.get(segment)!.gaps.every((gap) => gap.offset <= offset);
}
