/** Which claims are over, judged with a clock and a process table made for the purpose. */
import { describe, expect, test } from 'vitest';
import { Liveness } from '../../src/cache/liveness.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Identity, Ports } from '../../src/cache/ports.ts';
import { QueueState } from '../../src/cache/state.ts';

const LEASE = 30_000;
const HERE: Identity = {
  pid: 1,
  start: '10',
  boot: 'boot-a',
  pidNamespace: 'pid:[1]',
  timeNamespace: 'time:[1]',
};
const WORKER: Identity = { ...HERE, pid: 200, start: '20' };

/** A queue with claims, seen by one process. */
class Scene {
  monotonic = 1_000_000;
  readonly dead: Identity[] = [];
  readonly state = new QueueState(1, 0);
  readonly liveness: Liveness;
  #offset = 0;

  constructor(crashLimit = 3) {
    const ports = {
      clock: { now: () => Date.UTC(2030, 0, 1), monotonic: () => this.monotonic },
      processes: {
        self: () => HERE,
        isKnownDead: (who: Identity) => this.dead.some(({ pid }) => pid === who.pid),
      },
    } as Partial<Ports> as Ports;
    this.liveness = new Liveness(ports, crashLimit);
  }

  writer(w: string, who: Identity = WORKER): void {
    this.state.writers.set(w, { who, durability: 'always' });
  }

  /** A message claimed by `w` just now. */
  claimed(w: string, { began = this.monotonic, length = LEASE, k = 'k' } = {}): number {
    this.#offset += 100;
    const at = this.state.insert({ offset: this.#offset, length: 90, headerLength: 40 }, undefined, false);
    this.state.happen(at, { type: 'claim', token: `${w}.${k}` }, { writer: w, began, length, since: 0 });
    return at;
  }

  renew(at: number, w: string, began = this.monotonic, length = LEASE): void {
    this.state.happen(at, { type: 'renew', token: `${w}.k` }, { writer: w, began, length, since: 0 });
  }

  /** Seen dead, and long enough for others to have said why. */
  dies(who: Identity): void {
    this.dead.push(who);
    this.over();
    this.monotonic += 250;
  }

  /** What is found to be over, as [token, renewal, offsets]. */
  over(): unknown[] {
    return this.liveness
      .findings(this.state)
      .map(({ op }) => [op.k, op.r, op.c.flatMap(([, ...offsets]) => offsets)]);
  }
}

describe('a claim whose holder shares the clock', () => {
  test('is over when its lease is, to the millisecond', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.claimed('w');
    scene.monotonic += LEASE;
    expect(scene.over()).toEqual([]);
    scene.monotonic += 1;
    expect(scene.over()).toEqual([['w.k', 0, [100]]]);
  });

  test('that is over was so before this process had ever looked', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.claimed('w', { began: scene.monotonic - LEASE - 1 });
    expect(scene.over()).toHaveLength(1);
  });

  test('is renewed for a whole lease from the renewal on', () => {
    const scene = new Scene();
    scene.writer('w');
    const at = scene.claimed('w');
    scene.monotonic += LEASE - 1;
    scene.renew(at, 'w');
    scene.monotonic += LEASE;
    expect(scene.over()).toEqual([]);
    scene.monotonic += 1;
    // The finding names the renewal it saw, so that a later one wins.
    expect(scene.over()).toEqual([['w.k', 1, [100]]]);
  });

  test('is not over for an observer that stood still itself: the holder gets a whole lease again', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.claimed('w');
    scene.monotonic += 10 * LEASE;
    scene.liveness.wasStalled();
    expect(scene.over()).toEqual([]);
    scene.monotonic += LEASE;
    expect(scene.over()).toEqual([]);
    scene.monotonic += 1;
    expect(scene.over()).toHaveLength(1);
  });

  test('has evidence that says so', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.claimed('w', { length: 500 });
    scene.monotonic += 501;
    expect(scene.liveness.findings(scene.state)[0]!.evidence).toMatchObject({
      name: 'LeaseExpired',
      message: expect.stringContaining('500 ms') as string,
    });
  });
});

describe.each([
  ['of another boot', { ...WORKER, boot: 'boot-b' }],
  ['of another time namespace', { ...WORKER, timeNamespace: 'time:[2]' }],
  ['that says nothing of its boot', { ...WORKER, boot: '' }],
  ['that has not introduced itself', undefined],
] as const)('a claim whose holder is one %s', (_, who) => {
  const scene = (): Scene => {
    const made = new Scene();
    if (who) made.writer('w', who);
    return made;
  };

  test('is over only when a whole lease was watched, whatever its clock says', () => {
    for (const began of [0, 1_000_000 - 10 * LEASE, 1e12]) {
      const watched = scene();
      watched.claimed('w', { began });
      expect(watched.over()).toEqual([]);
      watched.monotonic += LEASE;
      expect(watched.over()).toEqual([]);
      watched.monotonic += 1;
      expect(watched.over()).toEqual([['w.k', 0, [100]]]);
    }
  });

  test('is watched anew after a renewal', () => {
    const watched = scene();
    const at = watched.claimed('w', { began: 0 });
    watched.over();
    watched.monotonic += LEASE - 1;
    watched.renew(at, 'w', 5);
    expect(watched.over()).toEqual([]);
    watched.monotonic += LEASE;
    expect(watched.over()).toEqual([]);
    watched.monotonic += 1;
    expect(watched.over()).toEqual([['w.k', 1, [100]]]);
  });

  test('is watched anew by an observer that stood still', () => {
    const watched = scene();
    watched.claimed('w', { began: 0 });
    watched.over();
    watched.monotonic += LEASE - 1;
    watched.liveness.wasStalled();
    expect(watched.over()).toEqual([]);
    watched.monotonic += LEASE;
    expect(watched.over()).toEqual([]);
  });

  test('does not keep a sleeper awake: its end cannot be told in advance by the clock', () => {
    const watched = scene();
    watched.claimed('w', { began: watched.monotonic - 10 * LEASE });
    expect(watched.liveness.nextLapse(watched.state)).toBeGreaterThan(0);
  });
});

describe('a holder that is known dead', () => {
  test('loses its claims, all of one claim in one record', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.claimed('w');
    scene.claimed('w');
    scene.claimed('w', { k: 'other' });
    expect(scene.over()).toEqual([]);
    scene.dies(WORKER);
    expect(scene.over()).toEqual([
      ['w.k', 0, [100, 200]],
      ['w.other', 0, [300]],
    ]);
    expect(scene.liveness.findings(scene.state)[0]!.evidence).toMatchObject({
      name: 'WorkerDied',
      message: expect.stringContaining('process 200') as string,
    });
  });

  test('keeps them for a moment, in which who knows what it died of can say so', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.claimed('w');
    scene.dead.push(WORKER);
    expect(scene.over()).toEqual([]);
    expect(scene.liveness.nextLapse(scene.state)).toBe(250);
    scene.monotonic += 249;
    expect(scene.over()).toEqual([]);
    scene.monotonic += 1;
    expect(scene.over()).toEqual([['w.k', 0, [100]]]);
  });

  test('takes no other holder with it', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.writer('v', { ...WORKER, pid: 300 });
    scene.claimed('w');
    scene.claimed('v');
    scene.dies(WORKER);
    expect(scene.over()).toEqual([['w.k', 0, [100]]]);
  });

  test('that had renewed is named with its last renewal', () => {
    const scene = new Scene();
    scene.writer('w');
    const at = scene.claimed('w');
    scene.renew(at, 'w');
    scene.renew(at, 'w');
    scene.dies(WORKER);
    expect(scene.over()).toEqual([['w.k', 2, [100]]]);
  });

  test('has killed a message for good when it is the last of so many', () => {
    const scene = new Scene(2);
    scene.writer('w');
    const at = scene.claimed('w');
    scene.dies(WORKER);
    const [first] = scene.liveness.findings(scene.state);
    expect(first!.op.f).toBeUndefined();
    scene.state.happen(at, { type: 'lapse', token: 'w.k', renewal: 0, error: first!.evidence, final: false });
    scene.state.happen(
      at,
      { type: 'claim', token: 'w.2' },
      { writer: 'w', began: 0, length: LEASE, since: 0 },
    );
    expect(scene.liveness.findings(scene.state)[0]!.op.f).toBe(1);
  });
});

test('a finding that comes behind a renewal in the log has no effect', () => {
  const scene = new Scene();
  scene.writer('w');
  const at = scene.claimed('w');
  scene.monotonic += LEASE + 1;
  const [found] = scene.liveness.findings(scene.state);
  scene.renew(at, 'w');
  const { k: token, r: renewal } = found!.op;
  expect(
    scene.state.happen(at, { type: 'lapse', token, renewal, error: found!.evidence, final: false }),
  ).toBe(false);
  expect(scene.over()).toEqual([]);
});

test('the next end of a lease is that of the shortest one', () => {
  const scene = new Scene();
  scene.writer('w');
  expect(scene.liveness.nextLapse(scene.state)).toBe(Infinity);
  scene.claimed('w');
  scene.claimed('w', { length: 500 });
  expect(scene.liveness.nextLapse(scene.state)).toBe(500);
});

describe('proof of death on this machine', () => {
  const { processes } = nodePorts;
  const self = processes.self();

  test('there is none of a process that lives', () => {
    expect(processes.isKnownDead(self)).toBe(false);
  });

  // Elsewhere than on Linux nothing is ever proven, and leases decide.
  const onLinux = process.platform === 'linux';

  test.skipIf(!onLinux)(
    'a pid that does not exist, or is another process by now, is dead (Linux only)',
    () => {
      // Beyond the largest pid that Linux can be set to give.
      expect(processes.isKnownDead({ ...self, pid: 2 ** 22 + 1 })).toBe(true);
      expect(processes.isKnownDead({ ...self, start: '1' })).toBe(true);
    },
  );

  test('nothing is known of a process of another boot or pid namespace, or one that does not say', () => {
    for (const other of [
      { boot: 'other' },
      { boot: '' },
      { pidNamespace: 'pid:[0]' },
      { pidNamespace: '' },
    ]) {
      expect(processes.isKnownDead({ ...self, pid: 2 ** 22 + 1, ...other })).toBe(false);
    }
  });

  test('a process that cannot be looked at is not dead', () => {
    // With hidepid, /proc/<pid> of others cannot be read, and what it would show is not there to compare with.
    expect(processes.isKnownDead({ ...self, start: '' })).toBe(false);
  });
});

describe('a death that somebody reports', () => {
  const EVIDENCE = { at: '2030-01-01T00:00:00.000Z', attempt: 0, name: 'WorkerDied', message: 'SIGSEGV' };

  test('ends the claims of that process, of all its handles, and of no other', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.writer('x');
    scene.writer('other', { ...WORKER, pid: 201 });
    for (const w of ['w', 'x', 'other']) scene.claimed(w);
    scene.dead.push(WORKER, { ...WORKER, pid: 201 });
    const found = scene.liveness.deathsOf(WORKER.pid, EVIDENCE, scene.state);
    expect(found.map(({ op, evidence }) => [op.k, op.c, evidence])).toEqual([
      ['w.k', [[1, 100]], EVIDENCE],
      ['x.k', [[1, 200]], EVIDENCE],
    ]);
  });

  test('is not believed while the process lives', () => {
    const scene = new Scene();
    scene.writer('w');
    scene.claimed('w');
    expect(scene.liveness.deathsOf(WORKER.pid, EVIDENCE, scene.state)).toEqual([]);
  });

  test('is final for a message that has killed as often as is allowed', () => {
    const scene = new Scene(1);
    scene.writer('w');
    scene.claimed('w');
    scene.dead.push(WORKER);
    expect(scene.liveness.deathsOf(WORKER.pid, EVIDENCE, scene.state)[0]?.op.f).toBe(1);
  });
});
