/** Lists of messages as records name them, and positions as the state does. */
import type { Place, Where } from './operations.ts';
import { offsetOf, position, segmentOf } from './position.ts';

export function eachMessage(where: Where[], visit: (at: number, due: number | undefined) => void): void {
  for (const group of where) {
    const segment = group[0];
    for (let i = 1; i < group.length; i++) {
      const entry = group[i]!;
      if (typeof entry === 'number') visit(position(segment, entry), undefined);
      else visit(position(segment, entry[0]), entry[1]);
    }
  }
}

/** Groups positions by segment, keeping their order. `dueOf` names the due time of those that are deferred. */
export function toWhere(positions: readonly number[], dueOf?: (at: number) => number | undefined): Where[] {
  const where: Where[] = [];
  let group: Where | undefined;
  for (const at of positions) {
    const segment = segmentOf(at);
    const due = dueOf?.(at);
    const entry: Where[1] = due === undefined ? offsetOf(at) : [offsetOf(at), due];
    if (group && group[0] === segment) group.push(entry);
    else where.push((group = [segment, entry]));
  }
  return where;
}

export function toPlace(at: number): Place {
  return [segmentOf(at), offsetOf(at)];
}
