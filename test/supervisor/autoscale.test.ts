import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/cache/ports.ts';
import { QueueManager } from '../../src/queue-manager.ts';
import {
  Autoscaler,
  decide,
  noTrend,
  type Load,
  type ScaledQueues,
  type Trend,
} from '../../src/supervisor/autoscale.ts';
import type {
  Autoscale,
  ChildState,
  ProcessSpec,
  ProcessStatus,
  SupervisorStatus,
} from '../../src/supervisor/shape.ts';

const SCALE: Autoscale = { min: 1, max: 8, backlog: 100, age: 30_000 };

/** A process over time: what each look, two seconds after the last, makes of its load. */
class Course {
  current: number;
  #now = 0;
  #trend: Trend = noTrend(0);
  readonly #scale: Autoscale;

  constructor(current: number, scale: Autoscale = SCALE) {
    this.current = current;
    this.#scale = scale;
  }

  look(load: Load): number {
    this.#now += 2000;
    const step = decide(this.#scale, this.current, load, this.#trend, this.#now);
    this.#trend = step.trend;
    this.current = step.wanted;
    return this.current;
  }

  /** How many there are after each look. */
  looks(times: number, waiting: number, age = 0): number[] {
    return Array.from({ length: times }, () => this.look({ waiting, age }));
  }
}

describe('up:', () => {
  test('as many as the backlog needs, at most twice as many at once, never more than the most', () => {
    expect(new Course(1).looks(4, 10_000)).toEqual([2, 4, 8, 8]);
    expect(new Course(1).looks(3, 250)).toEqual([2, 3, 3]);
    expect(new Course(5).looks(1, 10_000)).toEqual([8]);
  });

  test('from none, one for the first message', () => {
    expect(new Course(0, { ...SCALE, min: 0 }).looks(2, 1)).toEqual([1, 1]);
  });

  test('one more when a message has waited for too long, and then time for that to help', () => {
    expect(new Course(1).looks(6, 5, 30_001)).toEqual([2, 2, 2, 3, 3, 3]);
    expect(new Course(1).looks(6, 5, 30_000)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(new Course(8).looks(2, 5, 30_001)).toEqual([8, 8]);
  });
});

describe('down:', () => {
  test('one at a time, after as long a time with little to do as a message may wait', () => {
    const counts = new Course(3).looks(32, 0);
    expect(counts.slice(0, 14)).toEqual(Array.from({ length: 14 }, () => 3));
    expect([counts[14], counts[29], counts[31]]).toEqual([2, 1, 1]);
  });

  test('after five minutes at the latest', () => {
    const counts = new Course(2, { ...SCALE, age: 86_400_000 }).looks(150, 0);
    expect([counts[148], counts[149]]).toEqual([2, 1]);
  });

  test('never below the least', () => {
    expect(new Course(2, { ...SCALE, min: 2 }).looks(100, 0).at(-1)).toBe(2);
    expect(new Course(2, { ...SCALE, min: 0 }).looks(100, 0).at(-1)).toBe(0);
  });

  test('not while there is more to do than one less would do easily, nor after one busy look', () => {
    expect(new Course(3).looks(100, 101).at(-1)).toBe(3);
    expect(new Course(3).looks(100, 5, 31_000).at(-1)).toBe(8);
    const course = new Course(3);
    course.looks(14, 0);
    course.looks(1, 150);
    expect(course.looks(14, 0).at(-1)).toBe(3);
    expect(course.looks(1, 0)).toEqual([2]);
  });
});

test('a load that stays the same lets the number settle, whatever it is', () => {
  for (let waiting = 0; waiting <= 900; waiting += 7) {
    for (let current = 1; current <= 8; current++) {
      const course = new Course(current);
      const settled = course.looks(200, waiting).at(-1)!;
      expect(course.looks(50, waiting).every((count) => count === settled)).toBe(true);
      expect(settled).toBeGreaterThanOrEqual(Math.min(8, Math.ceil(waiting / 100)));
    }
  }
});

test('a number that the configuration does not allow any more is mended at once', () => {
  expect(new Course(12).looks(1, 0)).toEqual([8]);
  expect(new Course(0).looks(1, 0)).toEqual([1]);
});

/** A supervisor that does what it is told, and a clock that is wound by hand. */
class Stage implements Clock {
  readonly scaled: string[] = [];
  readonly logged: string[] = [];
  /** Milliseconds by which its time of day is ahead. */
  ahead = 0;
  states: ChildState[] = ['running'];
  pids: number[] = [];
  wanted = 1;
  scale = SCALE;
  #time = 0;
  #timer: (() => void) | undefined;
  #armed: () => void = () => undefined;

  now(): number {
    return Date.now() + this.ahead;
  }

  monotonic(): number {
    return this.#time;
  }

  timer(ms: number, run: () => void): () => void {
    this.#timer = () => {
      this.#time += ms;
      run();
    };
    this.#armed();
    return () => (this.#timer = undefined);
  }

  yield(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  busy(): number {
    return 0;
  }

  /** Resolves when a look at the queues has been taken, and the next one is due. */
  async look(): Promise<void> {
    const armed = new Promise<void>((resolve) => (this.#armed = resolve));
    const run = this.#timer;
    this.#timer = undefined;
    run?.();
    await armed;
  }

  autoscaler(open: () => Promise<ScaledQueues>): Autoscaler {
    const note = (text: string): number => this.logged.push(text);
    return new Autoscaler({
      open,
      clock: this,
      log: { trace: note, debug: note, info: note, warn: note, error: note, fatal: note },
      control: {
        status: () => this.#status(),
        scale: async (name, instances, { by = '' } = {}) => {
          this.scaled.push(`${name} ${instances}`);
          this.logged.push(by);
          this.wanted = instances;
          this.states = Array.from({ length: instances }, () => 'running' as const);
          return this.#status().processes[0]!;
        },
      },
    });
  }

  #status(): SupervisorStatus {
    const spec = { name: 'p', kind: 'worker', target: 'q', queue: 'q', autoscale: this.scale } as ProcessSpec;
    const children = this.states.map((state, index) => ({
      id: `p#${index + 1}`,
      state,
      pid: this.pids[index],
    }));
    const process = { spec, origin: 'configured', wanted: this.wanted, children } as unknown as ProcessStatus;
    return { name: 's', pid: 1, startedAt: new Date(), state: 'running', processes: [process] };
  }
}

describe('the loop', () => {
  /** Looks once as it starts, then whenever the stage says. */
  async function scaling(
    play: (stage: Stage, queues: QueueManager) => Promise<void>,
    begin?: (stage: Stage) => void,
    cacheRoot?: string,
  ): Promise<Stage> {
    const store = cacheRoot === undefined ? { queueType: 'memory' } : { cacheRoot };
    await using queues = await QueueManager.open(store);
    const stage = new Stage();
    begin?.(stage);
    // The test closes it itself.
    const autoscaler = stage.autoscaler(() => Promise.resolve(lent(queues)));
    const first = stage.look();
    autoscaler.start();
    await first;
    await play(stage, queues);
    await autoscaler.close();
    return stage;
  }

  test('scales by the backlog, due messages included, deferred and disabled ones not', async () => {
    const { scaled } = await scaling(async (stage, queues) => {
      await queues.createQueue('q');
      const later = new Date(Date.now() + 3_600_000);
      await queues.addMessages(
        'q',
        messages(500).map((each) => ({ ...each, dateTimeDeferredExecution: later })),
      );
      await queues.addMessages(
        'q',
        messages(500).map((each) => ({ ...each, disabled: true })),
      );
      await queues.addMessages('q', messages(100));
      await stage.look();
      expect(stage.scaled).toEqual([]);
      await queues.addMessages('q', messages(150));
      await stage.look();
      await stage.look();
    });
    expect(scaled).toEqual(['p 2', 'p 3']);
  });

  test('scales by the age of the oldest that may run', async () => {
    const { scaled, logged } = await scaling(async (stage, queues) => {
      await queues.createQueue('q');
      await queues.addMessages('q', messages(3));
      await stage.look();
      expect(stage.scaled).toEqual([]);
      stage.ahead = 31_000;
      await stage.look();
    });
    expect(scaled).toEqual(['p 2']);
    expect(logged.at(-1)).toMatch(/^autoscale, as a message has waited for 3\d s$/);
  });

  test('leaves alone what is paused, what a person has stopped, and what does not come up', async () => {
    const { scaled } = await scaling(async (stage, queues) => {
      await queues.createQueue('q');
      await queues.addMessages('q', messages(1000));
      await queues.pauseQueue('q');
      await stage.look();
      await queues.resumeQueue('q');
      for (const state of ['stopped', 'waiting', 'failed'] as const) {
        stage.states = [state];
        await stage.look();
      }
    });
    expect(scaled).toEqual([]);
  });

  test('ends no child that holds a message', async () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-p2-scale-')));
    const { scaled } = await scaling(
      async (stage, queues) => {
        await queues.createQueue('q');
        await queues.addMessages('q', messages(1));
        const [claim] = await queues.claimMessages('q');
        stage.pids = [1, process.pid];
        for (let i = 0; i < 40; i++) await stage.look();
        expect(stage.scaled).toEqual([]);
        await queues.completeMessage('q', claim!);
        await stage.look();
      },
      (stage) => {
        stage.states = ['running', 'running'];
        stage.wanted = 2;
      },
      join(folder, 'queues'),
    ).finally(() => rmSync(folder, { recursive: true }));
    expect(scaled).toEqual(['p 1']);
  });

  test('goes on when a queue cannot be asked, and says so once', async () => {
    const { logged } = await scaling(async (stage, queues) => {
      await queues.createQueue('q');
      const queueStatus = queues.queueStatus.bind(queues);
      queues.queueStatus = () => Promise.reject(new Error('no\u001b[31m'));
      await stage.look();
      await stage.look();
      queues.queueStatus = queueStatus;
      await queues.addMessages('q', messages(101));
      await stage.look();
    });
    expect(logged).toEqual([
      'p: its queue cannot be asked how many children are needed: no\\u001b[31m',
      'autoscale, as 101 messages wait',
    ]);
  });

  test('opens the queues when it needs them, again when that has failed, and anew when they may lie elsewhere', async () => {
    await using here = await QueueManager.open({ queueType: 'memory' });
    await using there = await QueueManager.open({ queueType: 'memory' });
    await there.createQueue('q');
    await there.addMessages('q', messages(101));
    const stage = new Stage();
    const told: string[] = [];
    let at: QueueManager | undefined;
    const autoscaler = stage.autoscaler(async () => {
      told.push('open');
      if (!at) throw new Error('no such folder');
      return { ...lent(at), close: async () => void told.push('close') };
    });
    const first = stage.look();
    autoscaler.start();
    await first;
    at = here;
    await stage.look();
    await stage.look();
    expect(told).toEqual(['open', 'open']);
    at = there;
    autoscaler.renew();
    await stage.look();
    expect(stage.scaled).toEqual(['p 2']);
    await autoscaler.close();
    expect(told).toEqual(['open', 'open', 'close', 'open', 'close']);
    expect(stage.logged[0]).toBe('p: its queue cannot be asked how many children are needed: no such folder');
  });
});

function messages(count: number): { data: number }[] {
  return Array.from({ length: count }, (_, data) => ({ data }));
}

/** A manager that somebody else closes. */
function lent(queues: QueueManager): ScaledQueues {
  return {
    queueExists: (queue) => queues.queueExists(queue),
    queueStatus: (queue) => queues.queueStatus(queue),
    findMessages: (queue, filter) => queues.findMessages(queue, filter),
    close: () => Promise.resolve(),
  };
}
