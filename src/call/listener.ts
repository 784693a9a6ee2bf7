/** What listeners have in common: what they are given, and what they are to their server. */
import type { Log } from '../worker/log.ts';
import type { Calls } from './calls.ts';
import type { CallAddress } from './method.ts';

/** What bounds the harm that clients can do. */
export interface CallLimits {
  /** Bytes; default 1 MiB. */
  readonly packetBytes: number;
  /** Default 1,000. Beyond them the one that has been silent for longest makes room. */
  readonly connections: number;
  /** Calls under way at once, over all connections; default 100. Others wait, up to `packetTime`. */
  readonly calls: number;
  /** Milliseconds that a client may say nothing, or not read its answer; default 1 minute. */
  readonly idleTime: number;
  /** Milliseconds from the first byte of a packet to its last; default 10 seconds. */
  readonly packetTime: number;
}

/** What listens. */
export interface CallListener {
  readonly address: CallAddress;
  /** Resolves when nothing comes in any more, and clients have their answers or the signal has fired. */
  close(signal: AbortSignal | undefined): Promise<void>;
}

/** What a listener is to do with packets. */
export interface ListenerOptions {
  readonly address: CallAddress;
  readonly token: string;
  readonly limits: CallLimits;
  readonly calls: Calls;
  readonly log: Log;
}
