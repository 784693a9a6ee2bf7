/** One writer of a log file: when it begins another, what it keeps, what it does when it cannot write. */
import fs, {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LogFile, type LogFileOptions } from '../../src/log/file.ts';
import { asideNames, logFiles, nextAside } from '../../src/log/files.ts';

let folder = '';
let path = '';
let told: string[] = [];
let clock = 0;
const open: LogFile[] = [];

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-log-file-')));
  path = join(folder, 'coda.log');
  told = [];
  clock = Date.now();
});
afterEach(() => {
  vi.restoreAllMocks();
  for (const file of open.splice(0)) file.close();
  rmSync(folder, { recursive: true });
});

function logFile(options: Partial<LogFileOptions> = {}, at = path): LogFile {
  const file = new LogFile(at, {
    rotateSize: 0,
    rotateAge: 0,
    rotateKeep: 3,
    lost: (count, why) => `lost ${count}: ${why}`,
    onTrouble: (text) => told.push(text),
    now: () => clock++,
    ...options,
  });
  open.push(file);
  return file;
}

function text(file = path): string {
  return readFileSync(file, 'utf8');
}

/** What all files hold, in order. */
function lines(): string[] {
  return logFiles(path).flatMap((file) => text(file).split('\n').slice(0, -1));
}

describe('another file is begun', () => {
  test('before a line that would make this one too large; and so many are kept, the newest', () => {
    const file = logFile({ rotateSize: 100 });
    for (let i = 0; i < 20; i++) file.append(`${i} ${'x'.repeat(45)}`);
    expect(asideNames(path)).toHaveLength(3);
    expect(lines().map((line) => line.split(' ')[0])).toEqual([
      '12',
      '13',
      '14',
      '15',
      '16',
      '17',
      '18',
      '19',
    ]);
    for (const name of logFiles(path)) expect(statSync(name).size).toBeLessThanOrEqual(100);
    expect(told).toEqual([]);
  });

  test('not for a line that is too large for any', () => {
    const file = logFile({ rotateSize: 100 });
    for (let i = 0; i < 3; i++) file.append('x'.repeat(200));
    expect(logFiles(path).map((name) => text(name).length)).toEqual([201, 201, 201]);
  });

  test('when this one is too old', () => {
    const file = logFile({ rotateAge: 60_000 });
    file.append('one');
    clock += 59_000;
    file.append('two');
    expect(asideNames(path)).toEqual([]);
    clock += 2000;
    file.append('three');
    expect(logFiles(path).map((name) => text(name))).toEqual(['one\ntwo\n', 'three\n']);
  });

  test('not where none is wanted', () => {
    const file = logFile();
    for (let i = 0; i < 100; i++) file.append('x'.repeat(1000));
    clock += 1e12;
    file.append('x');
    expect(readdirSync(folder)).toEqual(['coda.log']);
  });

  test('with the owner and the mode of this one', () => {
    const file = logFile({ rotateSize: 10 });
    file.append('12345678');
    chmodSync(path, 0o604);
    if (process.getuid?.() === 0) chownSync(path, 1234, 2345);
    file.append('12345678');
    const { mode, uid, gid } = statSync(path);
    expect(mode & 0o777).toBe(0o604);
    expect(asideNames(path)).toHaveLength(1);
    if (process.getuid?.() === 0) expect([uid, gid]).toEqual([1234, 2345]);
  });

  test('only by the owner, or root', () => {
    const file = logFile({ rotateSize: 10 });
    file.append('12345678');
    vi.spyOn(process, 'geteuid').mockReturnValue(4321);
    file.append('12345678');
    expect(lines()).toEqual(['12345678', '12345678']);
    expect(asideNames(path)).toEqual([]);
  });

  test('and files of other names are left alone', () => {
    const others = ['coda.log.1', 'coda.log.gz', `${nextAside(path, [], 0)}.gz`, 'xcoda.log'];
    for (const name of others) writeFileSync(join(folder, name), '');
    const file = logFile({ rotateSize: 10, rotateKeep: 1 });
    for (let i = 0; i < 5; i++) file.append('12345678');
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(others));
    expect(asideNames(path)).toHaveLength(1);
  });

  test('beside the file that a link leads to, and the link stays', () => {
    mkdirSync(join(folder, 'real'));
    const link = join(folder, 'link.log');
    symlinkSync('real/x.log', link);
    const file = logFile({ rotateSize: 10 }, link);
    for (let i = 0; i < 3; i++) file.append(`1234567${i}`);
    expect(readdirSync(join(folder, 'real'))).toHaveLength(3);
    expect(readdirSync(folder)).toEqual(['link.log', 'real']);
    expect(logFiles(link).map((name) => text(name))).toEqual(['12345670\n', '12345671\n', '12345672\n']);
  });
});

describe('of two writers', () => {
  test('both go over to the new file, whoever has begun it', () => {
    const [a, b] = [logFile({ rotateSize: 30 }), logFile({ rotateSize: 30 })];
    const expected = Array.from({ length: 30 }, (_, i) => `line ${i} of ${i % 2}`);
    for (const [i, line] of expected.entries()) (i % 2 ? a : b).append(line);
    expect(lines()).toEqual(expected.slice(-lines().length));
    expect(asideNames(path)).toHaveLength(3);
    expect(new Set(logFiles(path).map((name) => text(name).split('\n').length))).toEqual(new Set([3]));
  });

  test('one that puts aside what the other has just begun gives it its name back', () => {
    const [a, b] = [
      logFile({ rotateSize: 30, rotateKeep: 100 }),
      logFile({ rotateSize: 30, rotateKeep: 100 }),
    ];
    a.append('x'.repeat(25));
    b.append('y');
    const rename = fs.renameSync;
    // Right before its rename somebody else is faster, who knows nothing of it.
    const spy = vi.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
      spy.mockRestore();
      rename(path, join(folder, nextAside(path, [], clock)));
      b.append('y'.repeat(10));
      rename(from, to);
    });
    a.append('x'.repeat(12));
    expect(logFiles(path).map((name) => text(name).length)).toEqual([28, 24]);
  });

  test('only one puts a file aside at a time; the other goes on with it, if that takes long', () => {
    const [a, b] = [logFile({ rotateSize: 30 }), logFile({ rotateSize: 30 })];
    a.append('x'.repeat(25));
    const rename = fs.renameSync;
    const spy = vi.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
      spy.mockRestore();
      b.append('y'.repeat(10));
      rename(from, to);
    });
    a.append('x'.repeat(12));
    expect(lines()).toEqual(['x'.repeat(25), 'y'.repeat(10), 'x'.repeat(12)]);
    expect(logFiles(path)).toHaveLength(2);
    expect(readdirSync(folder).filter((name) => name.endsWith('.rotating'))).toEqual([]);
  });

  test('one that has died as it put a file aside keeps the others from it for ten seconds', () => {
    const file = logFile({ rotateSize: 30 });
    file.append('x'.repeat(25));
    const claim = `${path}.rotating`;
    writeFileSync(claim, '');
    file.append('y'.repeat(10));
    expect(logFiles(path)).toHaveLength(1);
    const before = new Date(Date.now() - 10_500);
    utimesSync(claim, before, before);
    clock += 1000;
    file.append('z'.repeat(10));
    expect(logFiles(path).map((name) => text(name).length)).toEqual([37, 11]);
    expect(existsSync(claim)).toBe(false);
  });

  test('one that has died after the rename is no matter', () => {
    const [a, b] = [logFile(), logFile()];
    a.append('one');
    renameSync(path, join(folder, nextAside(path, [], clock)));
    b.append('two');
    a.append('three');
    expect(lines()).toEqual(['one', 'two', 'three']);
    expect(text()).toBe('two\nthree\n');
  });

  test('a line whose file is deleted as it is written is written again', () => {
    const file = logFile();
    file.append('one');
    const write = fs.writeSync;
    const spy = vi.spyOn(fs, 'writeSync').mockImplementation(((fd: number, bytes: Buffer) => {
      spy.mockRestore();
      unlinkSync(path);
      return write(fd, bytes);
    }) as never);
    file.append('two');
    expect(text()).toBe('two\n');
  });

  test('one that was killed within its line leaves the next a line of its own', () => {
    const [a, b] = [logFile(), logFile()];
    a.append('one');
    appendFileSync(path, 'torn');
    b.append('two');
    a.append('three');
    expect(text()).toBe('one\ntorn\ntwo\nthree\n');
  });

  test('one that is killed while the other is about to write, likewise', () => {
    const file = logFile();
    file.append('one');
    const write = fs.writeSync;
    const spy = vi.spyOn(fs, 'writeSync').mockImplementation(((fd: number, bytes: Buffer) => {
      spy.mockRestore();
      appendFileSync(path, 'torn');
      return write(fd, bytes);
    }) as never);
    file.append('two');
    file.append('three');
    expect(text()).toBe('one\ntorntwo\ntwo\nthree\n');
  });
});

describe('what others do to the file', () => {
  test('moved, with a new one or without: the next line is in the one of this name', () => {
    const file = logFile();
    file.append('one');
    renameSync(path, `${path}.1`);
    file.append('two');
    renameSync(path, `${path}.2`);
    writeFileSync(path, '');
    file.append('three');
    expect([text(`${path}.1`), text(`${path}.2`), text()]).toEqual(['one\n', 'two\n', 'three\n']);
  });

  test('deleted with its folder: both are made again', () => {
    const deep = join(folder, 'a', 'b', 'coda.log');
    const file = logFile({}, deep);
    file.append('one');
    rmSync(join(folder, 'a'), { recursive: true });
    file.append('two');
    expect(text(deep)).toBe('two\n');
  });

  test('cut to nothing: lines go to its beginning', () => {
    const file = logFile();
    file.append('one');
    truncateSync(path);
    file.append('two');
    expect(text()).toBe('two\n');
  });

  test('moved, with a folder in its place: it goes on with what it has', () => {
    const file = logFile();
    file.append('one');
    renameSync(path, `${path}.1`);
    mkdirSync(path);
    file.append('two');
    file.reopen();
    file.append('three');
    expect(text(`${path}.1`)).toBe('one\ntwo\nthree\n');
    expect(told).toEqual([expect.stringMatching(/coda\.log": cannot be opened again: .*received a folder/)]);
  });
});

describe('opened again', () => {
  test('it writes where its name leads now', () => {
    const link = join(folder, 'link.log');
    symlinkSync('a.log', link);
    const file = logFile({}, link);
    file.append('one');
    unlinkSync(link);
    symlinkSync('b.log', link);
    file.append('two');
    file.reopen();
    file.append('three');
    expect([text(join(folder, 'a.log')), text(join(folder, 'b.log'))]).toEqual(['one\ntwo\n', 'three\n']);
  });

  test('after its end it does nothing', () => {
    const file = logFile();
    file.close();
    file.close();
    file.reopen();
    file.append('x');
    expect(text()).toBe('');
  });

  test('a writer opens no file that it does not close', () => {
    const before = readdirSync('/proc/self/fd').length;
    const file = logFile({ rotateSize: 10 });
    for (let i = 0; i < 50; i++) {
      file.append('12345678');
      file.reopen();
    }
    file.close();
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });
});

describe('lines that cannot be written', () => {
  test('are counted, told once elsewhere, and told of by the next line that can', () => {
    const file = logFile();
    file.append('one');
    const full = (): never => {
      throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    };
    const spy = vi.spyOn(fs, 'writeSync').mockImplementation(full);
    for (let i = 0; i < 5; i++) file.append('lost');
    spy.mockRestore();
    file.append('two');
    file.append('three');
    expect(text()).toBe('one\nlost 5: ENOSPC\ntwo\nthree\n');
    expect(told).toEqual([`the log ${JSON.stringify(path)}: lines are being lost: ENOSPC`]);
    vi.spyOn(fs, 'writeSync').mockImplementation(full);
    file.append('lost');
    file.close();
    expect(told.slice(1)).toEqual([
      `the log ${JSON.stringify(path)}: lines are being lost: ENOSPC`,
      `the log ${JSON.stringify(path)}: at its end 1 line was lost: ENOSPC`,
    ]);
  });

  test('one that is written in part counts as lost, and the next begins on a line of its own', () => {
    const file = logFile();
    const write = fs.writeSync;
    const spy = vi
      .spyOn(fs, 'writeSync')
      .mockImplementation(((fd: number, bytes: Buffer) => write(fd, bytes, 0, 3)) as never);
    file.append('lost');
    spy.mockRestore();
    file.append('two');
    expect(text()).toBe('los\nlost 1: ENOSPC\ntwo\n');
  });

  test('on a full device are no reason to end', () => {
    const file = logFile({}, '/dev/full');
    file.append('one');
    file.append('two');
    expect(told).toEqual(['the log "/dev/full": lines are being lost: ENOSPC']);
  });

  test('nothing is lost on /dev/null', () => {
    const file = logFile({ rotateSize: 10 }, '/dev/null');
    for (let i = 0; i < 10; i++) file.append('12345678');
    expect(told).toEqual([]);
  });

  test('a file that cannot be put aside grows, which is told once a minute', () => {
    const file = logFile({ rotateSize: 20 });
    vi.spyOn(fs, 'renameSync').mockImplementation(() => {
      throw Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    });
    for (let i = 0; i < 10; i++) file.append('12345678');
    expect(told).toEqual([expect.stringContaining('cannot be put aside, and grows: EACCES')]);
    clock += 61_000;
    file.append('12345678');
    expect(told).toHaveLength(2);
    expect(lines()).toHaveLength(11);
  });
});

test('what is put aside comes after what was, whatever the clock says', () => {
  const file = logFile({ rotateSize: 10, rotateKeep: 10 });
  for (let i = 0; i < 5; i++) {
    file.append(`1234567${i}`);
    clock -= 3_600_000;
  }
  expect(lines()).toEqual(['12345670', '12345671', '12345672', '12345673', '12345674']);
});

test('the files of a log that is not there are none', () => {
  expect(logFiles(join(folder, 'nowhere', 'x.log'))).toEqual([]);
  expect(logFiles(path)).toEqual([]);
  expect(existsSync(path)).toBe(false);
});
