import { expect, test } from 'vitest';
import { Commands } from '../../src/supervisor/commands.ts';
import { ManagedProcess } from '../../src/supervisor/managed-process.ts';

class Base extends ManagedProcess {
  override run(): void {}
  commandStatus(): string {
    return 'base';
  }
  commandInherited(): string {
    return this.constructor.name;
  }
}

class Derived extends Base {
  commandField = (args: unknown): unknown => args;
  commandNumber = 1;
  override commandStatus(): string {
    return 'derived';
  }
  commandReloadTheCache(): string {
    return 'reloaded';
  }
  commandX2(): string {
    return 'x2';
  }
  commandURL(): string {
    return 'url';
  }
  get commandGetter(): never {
    throw new Error('nobody reads this');
  }
  command(): void {}
  commandlower(): void {}
  static commandStatic(): void {}
}

test('all methods command<Name> are commands, inherited ones among them, and no others', async () => {
  const commands = new Commands(new Derived());
  expect(commands.names).toEqual(['URL', 'field', 'inherited', 'reload-the-cache', 'status', 'x2']);
  for (const name of commands.names) await expect(commands.call(name, 1)).resolves.toBeDefined();
  await expect(commands.call('status', null)).resolves.toBe('derived');
  await expect(commands.call('inherited', null)).resolves.toBe('Derived');
  await expect(commands.call('field', { a: 1 })).resolves.toEqual({ a: 1 });
  for (const name of [
    'constructor',
    '__proto__',
    'toString',
    'hasOwnProperty',
    'run',
    'getter',
    'number',
    'static',
    'lower',
    '',
    '-',
    'status-',
    'a b',
    'sta\ttus',
  ])
    await expect(commands.call(name, null)).rejects.toMatchObject({ code: 'UNKNOWN_COMMAND' });
});

test('what somebody has put on all objects is no command', async () => {
  const prototype = Object.prototype as { commandEvil?: () => string };
  prototype.commandEvil = () => 'evil';
  try {
    const commands = new Commands(new Derived());
    await expect(commands.call('evil', null)).rejects.toMatchObject({ code: 'UNKNOWN_COMMAND' });
  } finally {
    delete prototype.commandEvil;
  }
});

test('a class without any says so', async () => {
  class None extends ManagedProcess {
    override run(): void {}
  }
  await expect(new Commands(new None()).call('status', null)).rejects.toThrow(
    'no command "status"; it has none',
  );
});
