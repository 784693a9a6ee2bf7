import { describe, expect, test } from 'vitest';
import type { QueueStatus } from '../../src/backend.ts';
import type { Message } from '../../src/message.ts';
import { widthOf } from '../../bin/layout.ts';
import { frame, type Scene } from '../../bin/queue/watch/frame.ts';
import { fitRow, textOf } from '../../bin/queue/watch/row.ts';
import { rateInWords, Trend } from '../../bin/queue/watch/trend.ts';
import { FIRST_VIEW, press, settled, type View } from '../../bin/queue/watch/view.ts';
import { CONTROLS } from '../support/controls.ts';

const NOW = Date.parse('2026-12-24T18:00:00Z');
const ago = (seconds: number): Date => new Date(NOW - seconds * 1000);

/** Every kind of text that terminals and widths have trouble with. */
const HOSTILE = [
  'plain',
  '\u001b[31mred\u001b]0;title\u0007',
  '\u202eright to left',
  '\u6ce8\u6587\u756a\u53f7'.repeat(20),
  '\u{1f469}\u{1f3fd}\u200d\u{1f680}\u{1f1e9}\u{1f1ea}'.repeat(10),
  'e\u0301\u0300\u0302'.repeat(30),
  '\ud800 alone',
  'line\nbreak\ttab',
  '\uff76\uff9e \uff21 \u1112\u1161\u11ab',
];

function message(n: number, given: Partial<Message> = {}): Message {
  return {
    uuid: `01a20153-e936-7000-8000-${String(n).padStart(12, '0')}`,
    alias: `A-${n}`,
    data: n,
    retries: 0,
    executionMode: 'immediate',
    disabled: false,
    username: '',
    insertedAt: ago(100),
    state: 'ready',
    attempts: 1,
    crashes: 0,
    errors: [],
    ...given,
  };
}

function failed(n: number, text = 'no such address', given: Partial<Message> = {}): Message {
  const error = { at: ago(60 * n).toISOString(), attempt: 1, name: 'TypeError', message: text };
  return message(n, { state: 'failed', errors: [error], ...given });
}

function working(n: number, text = 'writing', given: Partial<Message> = {}): Message {
  const progress = { percent: 40, text, at: ago(1) };
  return message(n, { state: 'claimed', holder: { pid: 4_000_000 + n, since: ago(5), progress }, ...given });
}

type Given = Partial<Omit<QueueStatus, 'counts'>> & { counts?: Partial<QueueStatus['counts']> };

function status({ counts, ...given }: Given = {}): QueueStatus {
  const all = { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0, ...counts };
  return {
    queue: 'mails',
    lastMessageInserted: null,
    lastMessageProcessed: null,
    lastQueueModifyTime: ago(10),
    messagesToProcess: all.ready + all.deferred + all.claimed,
    customAttributes: {},
    counts: all,
    processed: 0,
    paused: false,
    createdAt: ago(1000),
    durability: 'always',
    lossWindow: 'none',
    options: {},
    damaged: 0,
    ...given,
  };
}

function scene(given: Partial<Scene> = {}): Scene {
  const made = {
    queue: 'mails',
    status: status(),
    found: { waitingSince: undefined, working: [], failed: [], unreadable: 0 },
    trend: new Trend(),
    view: FIRST_VIEW,
    trouble: '',
    keys: true,
    now: NOW,
    ...given,
  };
  return { ...made, view: settled(made.view, made.found) };
}

function lines(given: Scene, columns: number, rows: number): string[] {
  return frame(given, { columns, rows }).map(textOf);
}

/** Many of everything, under every name there is. */
function crowd(names: readonly string[] = HOSTILE): Scene {
  const found = {
    waitingSince: ago(500),
    working: names.map((name, n) => working(n, name, { alias: name })),
    failed: names.map((name, n) => failed(100 + n, name, { alias: n % 2 ? name : '', username: name })),
    unreadable: 0,
  };
  const counts = { ready: 1_234_567, deferred: 3, claimed: 9, disabled: 5, failed: 1234 };
  const trend = new Trend();
  for (let at = 0; at < 400_000; at += 1000)
    trend.add(at, status({ processed: at, counts: { ready: at % 7777 } }));
  return scene({ status: status({ counts, damaged: 2, processed: 1e9 }), found, trend });
}

test('a row that is cut says so, also between two styles', () => {
  const row = ['ready 1', ['red', '  failed 2']] as const;
  expect(fitRow(row, 17)).toBe(row);
  expect(fitRow(row, 12)).toEqual(['ready 1', ['red', '  fa\u2026']]);
  expect(fitRow(row, 8)).toEqual(['ready 1', ['red', '\u2026']]);
  expect(fitRow(row, 7)).toEqual(['ready \u2026']);
  expect(fitRow(row, 0)).toEqual([]);
});

describe('a frame', () => {
  test('has the rows and columns of the terminal, however absurd, whatever the names', () => {
    for (const help of [false, true]) {
      const given = crowd();
      given.view = { ...given.view, help };
      for (const columns of [1, 2, 5, 10, 20, 39, 40, 59, 60, 80, 132, 300]) {
        for (const rows of [1, 2, 3, 4, 5, 7, 10, 14, 16, 24, 60]) {
          const shown = lines(given, columns, rows);
          expect(shown).toHaveLength(rows);
          for (const line of shown) expect(widthOf(line)).toBeLessThanOrEqual(columns);
          expect(shown.join('')).not.toMatch(CONTROLS);
        }
      }
    }
  });

  test('of a small terminal keeps what matters most', () => {
    const found = { waitingSince: undefined, working: [], failed: [failed(1), failed(2)], unreadable: 0 };
    const given = scene({ status: status({ counts: { ready: 7, failed: 2 } }), found });
    expect(lines(given, 40, 5)).toEqual([
      'mails  waiting',
      '! 2 failed, the last 1m ago',
      'ready 7  failed 2',
      '>   1m  A-1       TypeError: no such addr…'.slice(0, 39) + '…',
      'q quit  ? help  p pause  r retry',
    ]);
    expect(lines(given, 40, 3)).toEqual([
      'mails  waiting',
      'ready 7  failed 2',
      expect.stringMatching('q quit'),
    ]);
  });

  test('keeps the selected message in sight, wherever in a long list it is', () => {
    const many = Array.from({ length: 200 }, (_, n) => failed(n));
    const found = { waitingSince: undefined, working: [working(900)], failed: many, unreadable: 0 };
    const given = scene({ status: status({ counts: { claimed: 1, failed: 250 } }), found });
    for (const index of [0, 1, 2, 50, 198, 200]) {
      const uuid = [...found.working, ...found.failed][index]!.uuid;
      for (const rows of [5, 6, 10, 24]) {
        const shown = lines({ ...given, view: { ...FIRST_VIEW, selected: { uuid, index } } }, 80, rows);
        expect(shown.filter((line) => line.startsWith('> '))).toHaveLength(1);
      }
    }
    const selected = { uuid: many[199]!.uuid, index: 200 };
    expect(lines({ ...given, view: { ...FIRST_VIEW, selected } }, 80, 24).join('\n')).toContain(
      'and 50 others',
    );
  });

  test('says that nobody works, that it is nearly full, that records are damaged', () => {
    const idle = scene({
      status: status({ counts: { ready: 95 }, options: { maxMessages: 100 }, damaged: 1 }),
      found: { waitingSince: ago(7200), working: [], failed: [], unreadable: 0 },
    });
    const text = lines(idle, 80, 24).join('\n');
    expect(text).toContain('! nobody works on it: 95 ready, the first for 2h');
    expect(text).toContain('! nearly full: 95 of at most 100 messages');
    expect(text).toContain('! 1 damaged record\n');
    const aside = {
      status: status({ counts: { failed: 3 } }),
      found: { waitingSince: undefined, working: [], failed: [failed(1), failed(2)], unreadable: 1 },
    };
    expect(lines(scene(aside), 80, 24).join('\n')).toMatch(
      /! 1 failed message cannot be read\n! 2 failed, the last \w+ ago\n/,
    );
    // Between two messages of a busy queue nobody holds one.
    const busy = { uuid: 'u', alias: '', timestamp: ago(2) };
    const given = { ...idle, status: status({ counts: { ready: 95 }, lastMessageProcessed: busy }) };
    expect(lines(given, 80, 24).join('\n')).not.toContain('nobody works');
    // It came a moment ago, or has not been looked for yet.
    for (const waitingSince of [ago(2), undefined]) {
      const fresh = { ...idle, found: { ...idle.found, waitingSince } };
      expect(lines(fresh, 80, 24).join('\n')).not.toContain('nobody works');
    }
  });

  test('of a queue that is not there, or cannot be read, says so', () => {
    expect(lines(scene({ status: undefined }), 80, 4)[0]).toBe('mails  is not there; waiting for it');
    expect(lines(scene({ trouble: 'no\u001b[2J space' }), 80, 4)[0]).toBe('mails  no\\u001b[2J space');
  });
});

describe('the trend', () => {
  const at = (ms: number, ready: number, processed: number): [number, QueueStatus] => [
    ms,
    status({ counts: { ready }, processed }),
  ];

  test('tells rates of the last ten seconds, and when the queue will be empty', () => {
    const trend = new Trend();
    trend.add(...at(0, 1000, 0));
    expect(trend.rates).toBeUndefined();
    trend.add(...at(10_000, 1000, 100));
    expect(trend.rates).toEqual({ added: 10, processed: 10, emptyIn: undefined });
    trend.add(...at(20_000, 900, 300));
    expect(trend.rates).toEqual({ added: 10, processed: 20, emptyIn: 90_000 });
    expect(trend.most).toBe(1000);
  });

  test('counts what was removed against what was added, down to none', () => {
    const trend = new Trend();
    trend.add(...at(0, 1000, 0));
    trend.add(...at(10_000, 0, 0));
    expect(trend.rates).toEqual({ added: 0, processed: 0, emptyIn: undefined });
  });

  test('begins anew with a queue that was created anew', () => {
    const trend = new Trend();
    trend.add(...at(0, 1000, 500));
    trend.add(1000, status({ createdAt: ago(1), processed: 600 }));
    expect(trend.rates).toBeUndefined();
    expect(trend.most).toBe(0);
  });

  test('draws the backlog of five minutes, and shifts only when a part of them is over', () => {
    const trend = new Trend();
    expect(trend.sparkline(60)).toBe('');
    for (let second = 0; second < 300; second++) trend.add(...at(second * 1000, second, 0));
    const full = trend.sparkline(60);
    expect(full).toHaveLength(60);
    expect([full[0], full.at(-1)]).toEqual(['\u2582', '\u2588']);
    trend.add(...at(300_000, 0, 0));
    expect(trend.sparkline(60).at(-1)).toBe('\u2581');
    expect(trend.sparkline(10)).toHaveLength(10);
  });

  test.each([
    [0, '0/s'],
    [1234.4, '1,234/s'],
    [2.25, '2.3/s'],
    [0.5, '30/min'],
    [0.001, '4/h'],
    [0.00001, '1/h'],
  ])('%d a second is %s', (rate, text) => expect(rateInWords(rate)).toBe(text));
});

describe('keys', () => {
  const found = {
    waitingSince: undefined,
    working: [working(1)],
    failed: [failed(2), failed(3)],
    unreadable: 0,
  };
  const present = { paused: false, failed: 5, found };
  const typed = (view: View, ...keys: string[]): ReturnType<typeof press> => {
    let answer: ReturnType<typeof press> = { view };
    for (const key of keys) answer = press(answer.view, { sequence: key, name: key.toLowerCase() }, present);
    return answer;
  };
  const start = settled(FIRST_VIEW, found);

  test('select up and down, and no further than there is', () => {
    const selectedAfter = (...keys: string[]): string | undefined =>
      typed(start, ...keys).view.selected?.uuid.slice(-1);
    expect(selectedAfter()).toBe('1');
    expect(selectedAfter('j')).toBe('2');
    expect(selectedAfter('j', 'j', 'j', 'j')).toBe('3');
    expect(selectedAfter('G', 'k', 'k', 'k', 'k')).toBe('1');
    expect(selectedAfter('G', 'g')).toBe('1');
  });

  test('the selection stays with its message, and at its place when that has gone', () => {
    const { view } = typed(start, 'j', 'j');
    const without = (n: number): typeof found => ({
      ...found,
      failed: found.failed.filter(({ alias }) => alias !== `A-${n}`),
    });
    expect(settled(view, without(2)).selected).toEqual({ uuid: failed(3).uuid, index: 1 });
    expect(settled(view, without(3)).selected).toEqual({ uuid: failed(2).uuid, index: 1 });
    expect(
      settled(view, { waitingSince: undefined, working: [], failed: [], unreadable: 0 }).selected,
    ).toBeUndefined();
  });

  test('retry and cancel fit the state of what is selected', () => {
    expect(typed(start, 'r')).toMatchObject({ view: { notice: 'select a failed message to retry it' } });
    expect(typed(start, 'r').wish).toBeUndefined();
    expect(typed(start, 'j', 'r').wish).toEqual({ type: 'retry', uuid: failed(2).uuid, name: 'A-2' });
    expect(typed(start, 'j', 'c')).toMatchObject({ view: { question: undefined } });
    expect(typed(start, 'c', 'y').wish).toEqual({ type: 'cancel', uuid: working(1).uuid, name: 'A-1' });
    expect(typed(start, 'R').view.question?.text).toBe('retry 5 failed messages?');
    expect(typed(start, 'R', 'y').wish).toEqual({ type: 'retry-all' });
  });

  test('a question takes any key but y as no, q too', () => {
    for (const key of ['n', 'q', 'c', 'R', ' ', 'escape'])
      expect(typed(start, 'c', key)).toEqual({ view: { ...start, notice: 'nothing was done' } });
  });

  test('Ctrl-C quits whatever is asked', () => {
    const { view } = typed(start, 'c');
    expect(press(view, { name: 'c', sequence: '\u0003', ctrl: true }, present).wish).toEqual({
      type: 'quit',
    });
  });

  test('of a queue that is not there only quit and help mean something', () => {
    for (const key of ['p', 'r', 'R', 'c', 'j'])
      expect(press(start, { sequence: key, name: key.toLowerCase() }, undefined)).toEqual({ view: start });
  });
});
