/**
 * Engines that are broken on purpose, each by a small change of the sources, each in a way that the design rules out.
 * A text that does not stand in its file exactly once is an error: whoever changes the source looks at its mutant.
 */
import type { Edit } from './realm.ts';
import type { Kind } from './violation.ts';

export interface Mutant {
  name: string;
  edits: readonly Edit[];
}

/** With the kinds of promises that it breaks: what else comes of it is no catch. */
export interface Simulated extends Mutant {
  breaks: readonly Kind[];
}

const BACKEND = 'src/cache/backend.ts';
const JOURNAL = 'src/cache/journal.ts';
const LOG = 'src/cache/log.ts';
const MESSAGE = 'src/message.ts';
const RECORD = 'src/cache/record.ts';
const ROTATION = 'src/cache/rotation.ts';
const SPACE = 'src/cache/space.ts';
const SUCCESSOR = 'src/cache/successor.ts';
const SWEEP = 'src/cache/sweep.ts';
const STATE = 'src/cache/state.ts';
const TABLE = 'src/cache/table.ts';
const MESSAGES = 'src/cache/messages.ts';

function mutant(
  name: string,
  breaks: readonly Kind[],
  ...edits: (readonly [file: string, find: string, replace: string])[]
): Simulated {
  return { name, breaks, edits: edits.map(([file, find, replace]) => ({ file, find, replace })) };
}

export const MUTANTS: readonly Simulated[] = [
  mutant(
    'an answer before the flush',
    ['lost', 'undone', 'queue'],
    [
      JOURNAL,
      "if (durability === 'always' && record.tag?.synced) waiting.push(record);",
      'if (durability === undefined) waiting.push(record);',
    ],
  ),
  mutant(
    'a duplicate answered before the flush',
    ['lost'],
    [
      JOURNAL,
      "if (durability === 'always' && record.tag?.synced) waiting.push(record);",
      "if (durability === 'always' && record.tag?.synced && record.effect?.kind !== 'duplicate') waiting.push(record);",
    ],
  ),
  mutant(
    'interval never flushes',
    ['lost', 'undone'],
    [
      JOURNAL,
      "if (durability === 'interval' && landed.length > 0) this.#syncSoon();",
      'if (durability === undefined) this.#syncSoon();',
    ],
    [JOURNAL, '    this.#flushAhead();\n', ''],
  ),
  mutant(
    'the timer of interval is set only once',
    ['lost', 'undone'],
    [JOURNAL, 'this.#cancelInterval = undefined;\n      log.syncer.wait', 'log.syncer.wait'],
  ),
  mutant(
    'a handle that is closed forgets the flush that is due',
    ['lost', 'undone'],
    [
      JOURNAL,
      'this.#cancelInterval();\n      log.syncer.wait(log.applied, (error) => error && this.#flushFailed(error));',
      'this.#cancelInterval();',
    ],
  ),
  mutant(
    'a turn begins while another is under way',
    ['lost', 'undone', 'differ', 'twice', 'damage', 'crash'],
    [JOURNAL, 'if (this.#scheduled || this.#pumping) return;', 'if (this.#scheduled) return;'],
    [JOURNAL, 'if (!this.#pumping) this.#pump();', 'this.#pump();'],
  ),
  mutant(
    'numbers are given again without a look at what could not be read back',
    ['damage'],
    [JOURNAL, 'if (log.flight.length > 0) return () => log.landForsaken();', ''],
  ),
  mutant(
    'who is refused for want of room tries again as long as there seems to be some',
    ['hang'],
    [JOURNAL, '!this.#eased && log.space', 'log.space'],
  ),
  mutant(
    'a state is taken whose tables could not be read',
    ['lost', 'differ', 'counts', 'undone', 'unripe'],
    [
      'src/cache/loading.ts',
      'const tables = [...state.tables.values()];',
      'log.state = state;\n  log.whole = true;\n  const tables = [...state.tables.values()];',
    ],
  ),
  mutant(
    'a settle without a look at the token',
    ['settle'],
    [
      MESSAGE,
      "return phase.state === 'claimed' && phase.token === event.token ? 'completed' : undefined;",
      "return phase.state === 'claimed' ? 'completed' : undefined;",
    ],
  ),
  mutant(
    'an expiry that ignores a newer renewal',
    ['settle', 'twice'],
    [
      MESSAGE,
      "if (phase.state !== 'claimed' || phase.token !== event.token || phase.renewal !== event.renewal)",
      "if (phase.state !== 'claimed' || phase.token !== event.token)",
    ],
  ),
  mutant(
    'a claim that takes a message out of another claim',
    ['twice', 'settle'],
    [
      MESSAGE,
      'if (!mayRun(life, event.due)) return undefined;',
      "if (!mayRun(life, event.due) && phase.state !== 'claimed') return undefined;",
    ],
  ),
  mutant(
    'replay ends at a torn record',
    ['lost', 'refused', 'hang'],
    [
      RECORD,
      "visitor.bad(buffer, zero, end, 'rot');\n  }\n  return end;",
      "visitor.bad(buffer, zero, end, 'rot');\n  }\n  return kind === 'torn' ? -1 : end;",
    ],
  ),
  mutant(
    'the tail is truncated on opening',
    ['lost'],
    [
      JOURNAL,
      'await journal.log.catchUp();\n      if (journal.state.seal)',
      'await journal.log.catchUp();\n      options.ports.fs.truncate(journal.log.fd, journal.log.applied);\n      if (journal.state.seal)',
    ],
  ),
  mutant(
    'what stands behind a seal counts',
    ['differ', 'undone', 'damage'],
    [
      STATE,
      'if (this.seal) {\n      this.#afterSeal(h);\n      return NONE;\n    }\n    this.#noteSynced',
      "if (this.seal && (h.op === 'next' || h.op === 'unsound')) {\n      this.#afterSeal(h);\n      return NONE;\n    }\n    this.#noteSynced",
    ],
    [STATE, 'if (this.seal) return;', ''],
  ),
  mutant(
    'the folder chooses the successor',
    ['lost', 'differ', 'damage', 'refused'],
    [
      ROTATION,
      "await log.appendNow({ op: 'next', ctl: 1, r: this.#noted.random, at: offset, crc: checksum });",
      'log.state.successor = offset + checksum.length > 0 ? this.#noted.random : undefined;',
    ],
  ),
  // Either alone does no harm: no note outlives its seal when that is flushed first (`model/README.md`).
  mutant(
    'a note that names another seal is honoured, and the log not flushed before it',
    ['lost', 'differ', 'damage', 'refused'],
    [SUCCESSOR, 'fs.syncFolder(folder), log.synced()]', 'fs.syncFolder(folder)]'],
    [
      STATE,
      "case 'next':\n      case 'unsound':\n        return NONE;",
      "case 'next':\n        this.successor ??= h.r;\n        return NONE;\n      case 'unsound':\n        return NONE;",
    ],
    [STATE, 'if (h.at !== this.seal!.offset || h.crc !== this.seal!.checksum) return;', ''],
  ),
  mutant(
    'unfinished heads are removed too early',
    ['lost', 'damage', 'refused'],
    [SWEEP, 'temporary.segment <= current)', 'temporary.segment <= current + 1)'],
  ),
  mutant(
    'a superfluous head is removed before the log is flushed',
    ['lost', 'damage', 'refused'],
    [
      ROTATION,
      '// A head must never know more than the disk.\n',
      'if (noted && !made) removeSpent(fs, noted.path);\n',
    ],
  ),
  mutant(
    'the maker removes a head that the log names',
    ['lost', 'damage', 'refused'],
    [
      ROTATION,
      'close(): void {\n    this.#successor.abandon();',
      'close(): void {\n    if (this.#noted) removeSpent(this.#log.options.ports.fs, this.#noted.path);\n    this.#successor.abandon();',
    ],
  ),
  mutant(
    'a sealed segment is not flushed before its successor',
    ['lost', 'damage', 'differ'],
    [ROTATION, '// A head must never know more than the disk.\n    await log.synced();', ''],
    [SUCCESSOR, 'fs.syncFolder(folder), log.synced()]', 'fs.syncFolder(folder)]'],
  ),
  // That the folder is not flushed before a deletion does no harm either: it is before each note.
  mutant(
    'a successor is used, and deletions rest on it, before it is flushed',
    ['lost', 'damage', 'refused'],
    [SUCCESSOR, 'fs.sync(fd), fs.syncFolder', 'fs.syncFolder'],
    [SWEEP, 'await fs.sync(fd);', ''],
  ),
  // Nor does it that a head is tried again in the same file after a failed flush: all of it is written, and so flushed, anew.
  mutant(
    'the folder is not flushed before a note names a file in it',
    ['lost', 'damage', 'refused'],
    [SUCCESSOR, 'fs.sync(fd), fs.syncFolder(folder), log', 'fs.sync(fd), log'],
  ),
  mutant(
    'what is spent stays',
    ['files'],
    [
      SWEEP,
      'segment !== undefined && segment < current - 1 && !needed',
      'segment !== undefined && segment < 0 && !needed',
    ],
  ),
  mutant(
    'deletion rests on one head',
    ['lost', 'refused', 'damage'],
    [SWEEP, 'namedBy(log, [current, current - 1])', 'namedBy(log, [current])'],
  ),
  mutant(
    'deletion by the position of a message instead of its place',
    ['lost', 'damage'],
    ['src/cache/head.ts', 'this.#references.add(h.at[0]);', 'this.#references.add(h.p[0]);'],
  ),
  mutant(
    'ended messages are named by ordinal',
    ['lost', 'undone', 'damage', 'differ'],
    [
      TABLE,
      'this.#append(offset, length, headerLength, due, disabled, this.#isFreshUnread(offset));',
      'this.#append(offset, length, headerLength, due, disabled, this.#isFreshUnread(this.count));',
    ],
    [TABLE, 'const from = this.#offsets[i]!;', 'const from = i;'],
    [TABLE, 'runs.push(from, this.#offsets[i]!);', 'runs.push(from, i);'],
    [TABLE, 'if (this.#end < LAST) runs.push(this.#end, LAST);', 'runs.push(this.count, LAST);'],
  ),
  mutant(
    'an index is trusted that does not match',
    ['lost', 'counts', 'differ', 'data', 'unripe'],
    [
      'src/cache/index-file.ts',
      'if (body.length !== header.bytes || crc32(body) !== header.crc) return undefined;',
      '',
    ],
    [
      'src/cache/index-file.ts',
      'if (!hasSeal(fs, `${folder}/${segmentName(segment)}`, header.seal)) return undefined;',
      '',
    ],
  ),
  mutant(
    "the queue's own name is never flushed",
    ['lost', 'queue'],
    [LOG, '#named = false;', '#named = true;'],
  ),
  mutant(
    'a queue is there before its creation is flushed',
    ['lost', 'queue'],
    [
      BACKEND,
      '        // Whoever has created it anew may not have come to flushing that.\n        await journal.flush();\n',
      '',
    ],
  ),
  mutant(
    'numbers restart after a destruction',
    ['data', 'lost', 'refused', 'queue'],
    [
      BACKEND,
      '      const { fileMode } = this.#options;\n',
      `      const { fileMode } = this.#options;
      const { fs, random } = this.#ports;
      const folder = this.#folder(name);
      if (fs.kind(folder) === 'folder' && !holdsQueue(fs, folder)) {
        const spent = this.#root + '/.spent-' + random.hex(8);
        fs.rename(folder, spent);
        for (const file of fs.list(spent)) fs.remove(spent + '/' + file);
        fs.removeFolder(spent);
      }
`,
    ],
  ),
  mutant(
    'checksums are not looked at',
    ['data'],
    [
      RECORD,
      'if (!hasHex(buffer, start + 2, 8, crc32(buffer.subarray(start + COVERED, end)))) return -1;',
      '',
    ],
  ),
  mutant(
    'rot is taken for a torn tail',
    ['silent'],
    [
      RECORD,
      'const kind = damageKind(buffer, start, end);',
      "const kind = damageKind(buffer, start, end) === 'rot' ? ('torn' as const) : 'torn';",
    ],
  ),
  mutant(
    'damage is counted, and told to nobody',
    ['silent'],
    [
      LOG,
      'const { queue, folder, report } = this.options;',
      'const { queue, folder } = this.options;\n    const report = (_: QueueError): void => undefined;',
    ],
  ),
  mutant(
    'damage in an older segment is not counted',
    ['silent'],
    [LOG, 'state.damage.push(each);\n      state.untold = true;', 'void each;'],
  ),
  mutant(
    'that a head had to be made again is not counted',
    ['silent'],
    ['src/cache/loading.ts', '  log.noteDamage(segment, 0, end);\n', ''],
  ),
  mutant(
    'a head does not tell of damage',
    ['silent'],
    ['src/cache/head.ts', "for (const damage of state.damage) put({ op: 'damage', ...damage });", ''],
  ),
  mutant(
    'a claim is answered without reading back',
    ['twice', 'differ'],
    [
      LOG,
      'if (links === 0 || size !== this.applied + this.#batch.length) return false;',
      'if (links === 0) return false;',
    ],
  ),
  mutant(
    'leases run on the wall clock',
    ['settle', 'twice'],
    ['src/cache/claiming.ts', 'k: this.#number, m: clock.monotonic()', 'k: this.#number, m: clock.now()'],
    ['src/cache/settles.ts', 'm: this.#surroundings.clock.monotonic()', 'm: this.#surroundings.clock.now()'],
    [
      'src/cache/liveness.ts',
      'const now = this.#ports.clock.monotonic();\n    const watched',
      'const now = this.#ports.clock.now();\n    const watched',
    ],
  ),
  mutant(
    'a process that cannot be read about is taken for dead',
    ['settle', 'twice'],
    [
      'src/process-table.ts',
      'return facts !== undefined && (isEnded',
      'return facts === undefined || (isEnded',
    ],
  ),
  mutant(
    'the old payload after an update',
    ['lost'],
    [
      MESSAGES,
      'Object.assign(this.touched.get(at)!, { place: position(this.segment, offset), length, headerLength });',
      'if (offset + length + headerLength < 0) this.touched.delete(at);',
    ],
  ),
  mutant(
    'the old place after a carry',
    ['lost'],
    [
      MESSAGES,
      'if (touched) Object.assign(touched, { place, length, headerLength });',
      'if (touched) Object.assign(touched, { length, headerLength });\n    if (place < 0) return;',
    ],
  ),
  mutant(
    'no reserve on a full disk',
    ['refused'],
    [
      SPACE,
      'freeReserve(): boolean {\n    this.#lookedAt = -Infinity;',
      'freeReserve(): boolean {\n    this.#lookedAt = -Infinity;\n    if (this.#sinceLook >= 0) return false;',
    ],
  ),
  mutant('the reserve is not flushed', ['reserve'], [SPACE, '      await fs.sync(fd);\n', '']),
  mutant(
    'the reserve is not made anew',
    ['reserve'],
    [ROTATION, 'await this.#space.restoreReserve(like);', ''],
  ),
  mutant(
    'a message that could not be read stays claimed',
    ['counts'],
    [
      'src/cache/hand-over.ts',
      'await Promise.all([...refused].map(([at, error]) => this.#giveBack(claim, at, error)));',
      'await Promise.all([...refused].map(([at, error]) => this.#holds(claim, at) && error));\n    void this.#giveBack;',
    ],
  ),
  mutant(
    'a queue whose newest head is damaged is not listed',
    ['queue'],
    ['src/cache/folder.ts', "(state.id !== '' || !isTold)", "state.id !== '' && isTold"],
  ),
  mutant(
    'who verifies changes the folder',
    ['files'],
    [
      'src/cache/verify.ts',
      'picture = takePicture(ports.fs, folder);',
      'picture = takePicture(ports.fs, folder);\n    ports.fs.syncFolder(folder).catch(() => undefined);',
    ],
  ),
];
