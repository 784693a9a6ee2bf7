/** What the supervisor answers, as far as the verbs of `ctl` look at it. */
import type { Answer } from '../../../src/supervisor/shape.ts';

export interface Child {
  readonly id: string;
  readonly state: string;
  readonly pid: number | null;
  readonly startedAt: string | null;
  readonly restarts: number;
  readonly failures: number;
  readonly lastEnd: { readonly at: string; readonly why: string; readonly failed: boolean } | null;
  readonly nextStartAt: string | null;
  readonly memory: number | null;
  readonly healthy: boolean | null;
  readonly status?: { readonly result?: unknown; readonly error?: { readonly message: string } };
}

export interface Process {
  readonly name: string;
  readonly kind: string;
  readonly target: string;
  readonly wanted: number;
  readonly children: readonly Child[];
}

export interface Status {
  readonly master: {
    readonly name: string;
    readonly pid: number;
    readonly startedAt: string;
    readonly state: string;
  };
  readonly processes: readonly Process[];
}

export interface Answers {
  readonly answers: readonly Answer[];
}

export interface Event {
  readonly id: number;
  readonly at: string;
  readonly type: string;
  readonly process: string | null;
  readonly child: string | null;
  readonly data: unknown;
}
