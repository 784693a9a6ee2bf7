/**
 * Goes through the segments of a queue once, oldest first, and lets chronicles follow their messages: those that were
 * named beforehand, and those that a record shows to be looked for. Bad lines, what stands behind a seal, and what
 * belongs to an earlier queue of that name are passed over.
 */
import type { TryError } from '../message.ts';
import { Chronicle, type Standing, type Telling, type Tidings } from './chronicle.ts';
import { FileScanner, isGone, listSegments, segmentName, type FileVisitor } from './files.ts';
import { loadHead, type LoadedHead } from './head.ts';
import { decode, isOwn } from './header.ts';
import type { Content, HeadRecord, Place, Where } from './operations.ts';
import type { Ports } from './ports.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import { asciiJson, headerText } from './record.ts';
import type { Damage, Header, QueueState } from './state.ts';
import { eachMessage } from './where.ts';

export interface Archive {
  ports: Ports;
  folder: string;
  /** Of the queue. */
  id: string;
  uniqueAlias: boolean;
  /** The newest segment, and up to where it is read. */
  segment: number;
  end: number;
}

export type Target = { uuid: string } | { alias: string };

/** A segment that is open for reading. `head` is undefined where it is damaged. */
interface Volume {
  segment: number;
  fd: number;
  size: number;
  head: LoadedHead | undefined;
}

export class Chronicler implements FileVisitor {
  readonly chronicles = new Map<number, Chronicle>();
  readonly #archive: Archive;
  readonly #target: Target | undefined;
  /** Stands in the header of every record that holds or has held a message that is looked for. */
  readonly #needle: string;
  /** Process ids. */
  readonly #writers = new Map<string, number>();
  #damage: Damage[] = [];
  /** The queue that the records belong to. */
  #id = '';
  #paused = false;
  // Of the segment that is being read:
  #volume: Volume | undefined;
  /** What stands at this offset or behind it is void. */
  #sealedAt = Infinity;

  /** @param target absent when all messages to follow are named by `follow`. */
  constructor(archive: Archive, target?: Target) {
    this.#archive = archive;
    this.#target = target;
    this.#needle = !target ? '' : 'uuid' in target ? asciiJson(target.uuid) : asciiJson(target.alias);
  }

  follow(at: number, content: Content): Chronicle {
    const chronicle = new Chronicle(at, content, this.#archive.uniqueAlias);
    this.chronicles.set(at, chronicle);
    return chronicle;
  }

  /** False: a segment was deleted meanwhile, so that there are holes in the chronicles. Errors: those of node:fs; JOURNAL_NEWER. */
  async read(): Promise<boolean> {
    const { ports, folder, segment, end } = this.#archive;
    const listed = listSegments(ports.fs, folder).filter((each) => each <= segment);
    let sound = listed.at(-1) === segment;
    const open = async (each: number | undefined): Promise<Volume | undefined> => {
      const volume = each === undefined ? undefined : await this.#open(each);
      sound &&= volume !== undefined || each === undefined;
      return volume;
    };
    let before = 0;
    let volume = await open(listed[0]);
    try {
      for (let i = 0; i < listed.length; i++) {
        // Opened ahead: its head says where this one's seal was, should that have rotted.
        const next = await open(listed[i + 1]);
        const current = volume;
        volume = next;
        if (!current) continue;
        try {
          const prev = next?.head?.start.prev;
          this.#sealedAt = prev?.segment === current.segment ? prev.at : Infinity;
          this.#enter(current, current.segment > before + 1);
          await this.#scan(current, current.segment === segment ? end : current.size);
        } finally {
          ports.fs.close(current.fd);
        }
        before = current.segment;
      }
    } finally {
      if (volume) ports.fs.close(volume.fd);
    }
    return sound;
  }

  async #open(segment: number): Promise<Volume | undefined> {
    const { ports } = this.#archive;
    const { fs } = ports;
    const path = `${this.#archive.folder}/${segmentName(segment)}`;
    let fd: number;
    try {
      fd = fs.open(path, 'read');
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
    try {
      return { segment, fd, size: fs.stat(fd).size, head: await loadHead(ports, fd, segment, 0, path) };
    } catch (error) {
      fs.close(fd);
      throw error;
    }
  }

  /** @param gap whether segments before it are missing. */
  #enter(volume: Volume, gap: boolean): void {
    this.#volume = volume;
    const { segment, head } = volume;
    if (!head) {
      for (const chronicle of this.chronicles.values()) chronicle.complete &&= !gap;
      return;
    }
    const { state, start } = head;
    this.#id = start.id;
    this.#paused = state.paused;
    this.#damage = [...state.damage];
    for (const [writer, { who }] of state.writers) this.#writers.set(writer, who.pid);
    if (!this.#isOurs) return;
    for (const [at, chronicle] of this.chronicles) {
      if (segmentOf(at) < segment) chronicle.compare(standingOf(state, at), segment, gap);
    }
  }

  async #scan({ fd }: Volume, to: number): Promise<void> {
    const { fs, clock } = this.#archive.ports;
    const scanner = new FileScanner(fs);
    for (let at = 0; at < to;) {
      const next = scanner.chunk(fd, at, to, this);
      if (next === at) break;
      at = next;
      await clock.yield();
    }
  }

  get #isOurs(): boolean {
    return this.#id === this.#archive.id;
  }

  bad(_buffer: Buffer, start: number, end: number, kind: 'torn' | 'rot', offset: number): void {
    if (kind === 'rot')
      this.#damage.push({ segment: this.#volume!.segment, from: offset, to: offset + end - start });
  }

  record(buffer: Buffer, start: number, end: number, headerLength: number, offset: number): void {
    const { segment, head } = this.#volume!;
    if (offset >= this.#sealedAt) return;
    const text = headerText(buffer, start, headerLength);
    const at = position(segment, offset);
    const isAdd = text.startsWith('{"op":"add"');
    // Most records are adds of messages that nobody asks about: those are not parsed.
    if (isAdd && !this.chronicles.has(at) && !(this.#target && text.includes(this.#needle))) return;
    const decoded = decode(buffer, start, end, headerLength);
    if (!decoded) return this.bad(buffer, start, end, 'rot', offset);
    const { header, payload } = decoded;
    if (!isOwn(header)) {
      if (header.op === 'carry' && head) this.#carry(header, head.state);
    } else if (header.op === 'add') this.#add(header, at);
    else this.#tell(header, at, () => payload as unknown as TryError);
  }

  #add(header: Header & { op: 'add' }, at: number): void {
    if (!this.#isOurs) return;
    const chronicle = this.chronicles.get(at) ?? this.#discover(at, header);
    chronicle?.begin(header, this.#writers.get(header.w));
  }

  /** A content that was moved into this head. */
  #carry(header: HeadRecord & { op: 'carry' }, state: QueueState): void {
    const at = position(...header.p);
    if (!this.#isOurs || this.chronicles.has(at)) return;
    this.#discover(at, header)?.compare(standingOf(state, at), state.segment);
  }

  #tell(h: Header, at: number, payload: () => TryError): void {
    switch (h.op) {
      case 'seal':
        this.#sealedAt = offsetOf(at);
        if (h.why === 'destroy') this.#id = '';
        return;
      case 'create':
        if (this.#id === '') this.#id = h.id;
        return;
      case 'writer':
        this.#writers.set(h.w, h.who.pid);
        return;
      case 'pause':
      case 'resume':
        this.#paused = h.op === 'pause';
        return;
      case 'add':
      case 'attr':
      case 'processed':
      case 'boot':
      case 'unsound':
      case 'next':
        return;
      case 'claim':
        if (!this.#paused) this.#meet(h, at, payload);
        return;
      default:
        this.#meet(h, at, payload);
    }
  }

  /** Tells those whom it concerns of a record. */
  #meet(header: Telling, at: number, payload: () => TryError): void {
    if (!this.#isOurs) return;
    const pid = this.#writers.get(header.w);
    const hasError = header.op === 'fail' || header.op === 'lapse' || header.op === 'cancel';
    const isHoled = header.op === 'purge' && this.#damage.some((each) => each.segment === segmentOf(at));
    const damaged = isHoled || (header.op === 'update' && this.#isDamaged(header.at));
    let error: TryError | undefined;
    const tell = (chronicle: Chronicle, index: number, due?: number): void => {
      if (hasError) error ??= payload();
      chronicle.meet({ header, position: at, pid, index, due, error, damaged } satisfies Tidings);
    };
    const tellAll = (): void => {
      for (const chronicle of this.chronicles.values()) tell(chronicle, 0);
    };
    const tellOne = ([segment, offset]: Place, content?: Content): void => {
      const named = position(segment, offset);
      const chronicle = this.chronicles.get(named) ?? (content && this.#discover(named, content));
      if (chronicle) tell(chronicle, 0);
    };
    const tellEach = (where: Where[], contentOf?: (index: number) => Content): void => {
      let index = 0;
      eachMessage(where, (named, due) => {
        const i = index++;
        const chronicle = this.chronicles.get(named) ?? (contentOf && this.#discover(named, contentOf(i)));
        if (chronicle) tell(chronicle, i, due);
      });
    };
    // By the operation: what else a foreign writer's record may hold means nothing.
    switch (header.op) {
      case 'purge':
        return tellAll();
      case 'set':
        return tellOne(header.p);
      case 'update':
      case 'remove':
      case 'cancel':
        return tellOne(header.p, header);
      case 'retry':
        return header.c ? tellEach(header.c) : tellAll();
      case 'done':
        return tellEach(header.c, (i) => ({ u: header.u[i] ?? '', a: header.a[i] }));
      default:
        return tellEach(header.c);
    }
  }

  /** Begins a chronicle of the message if it is one that is looked for. */
  #discover(at: number, content: Content): Chronicle | undefined {
    const target = this.#target;
    if (!target || ('uuid' in target ? content.u !== target.uuid : content.a !== target.alias))
      return undefined;
    return this.follow(at, content);
  }

  #isDamaged([at, offset]: Place): boolean {
    return this.#damage.some(({ segment, from, to }) => segment === at && from <= offset && offset < to);
  }
}

/** How a message stands in a state. */
export function standingOf(state: QueueState, at: number): Standing {
  const touched = state.touched.get(at);
  const alias = state.options.uniqueAlias ? (state.aliasOf(at) ?? '') : undefined;
  if (touched) return { life: touched.life, place: touched.place, alias };
  return state.lifeOf(at) && 'fresh';
}
