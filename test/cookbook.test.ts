/**
 * The cookbook, cooked: every block of docs/cookbook.md is written or run as it stands there, and what the reader is said
 * to see is compared with what there is to see. Here stands only what a reader has around it: a mail server.
 */
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { SMTPServer } from 'smtp-server';
import { expect, test } from 'vitest';
import type { Terminal } from './cli/terminal.ts';
import { Kitchen, shown, within } from './docs/kitchen.ts';
import { sectionsOf, type Block, type Section } from './docs/markdown.ts';

/** A block may take so long, in ms. */
const MOST = 30_000;

const document = readFileSync(fileURLToPath(new URL('../docs/cookbook.md', import.meta.url)), 'utf8');
const [opening, ...recipes] = sectionsOf(document);

/** Prepares what a reader has around a recipe. */
type Surroundings = (cook: Cook) => Promise<{
  /** What else must be true when all is done. */
  check: () => void | Promise<void>;
  close?: () => Promise<void>;
}>;

class Cook {
  readonly kitchen = new Kitchen();
  readonly #prose: string;
  /** Of the document, and what stands for it here. */
  readonly #ports = new Map<string, string | undefined>();
  /** What was printed, and is not yet in the document. */
  #printed = '';
  #there: { terminal: Terminal; expected: string } | undefined;

  constructor({ blocks, prose }: Section) {
    this.#prose = prose;
    for (const { text } of blocks) {
      for (const [, port = ''] of text.matchAll(/localhost:(\d+)/g)) this.#ports.set(port, undefined);
    }
  }

  knows(ports: Record<string, number>): void {
    for (const [port, actual] of Object.entries(ports)) this.#ports.set(port, String(actual));
  }

  async cook(block: Block): Promise<void> {
    const { language, info, text, isIndented } = block;
    const kind = isIndented ? 'an indented block' : `${language} ${info}`.trim();
    if (/^[\w./-]+\.\w+$/.test(info)) {
      // What stands behind the fence is not shown to readers.
      expect(this.#prose, 'the name of a file').toContain(`\`${info}\``);
      return this.kitchen.write(info, this.#here(text));
    }
    if (kind === 'text') return this.#compare(text);
    this.allIsTold();
    if (kind === 'sh') {
      const env = { PORT: '0' };
      this.#printed = await this.kitchen.run(this.#here(text), env, MOST);
    } else if (kind === 'crontab') {
      await this.kitchen.cron(this.#here(text).replaceAll('/srv/shop', this.kitchen.folder), MOST);
    } else if (kind === 'sh in another terminal') {
      await this.leave();
      this.#there = { terminal: this.kitchen.start(this.#here(text), { PORT: '0' }), expected: '' };
    } else if (kind === 'text there') await this.#look(text);
    else throw new Error(`expected a block that can be run, received: ${kind}`);
  }

  /** Throws when something was printed that the document does not show. */
  allIsTold(): void {
    expect(this.#printed, 'printed, and not in the document').toBe('');
  }

  /** Ends what runs in the other terminal, as a reader does. */
  async leave(): Promise<void> {
    const there = this.#there;
    this.#there = undefined;
    if (!there) return;
    there.terminal.type('\u0003');
    await within(MOST, there.terminal.ended, () => `not ended:\n${shown(there.terminal)}`);
    for (const port of this.#ports.keys()) if (there.expected.includes(`:${port}`)) this.#ports.delete(port);
  }

  #compare(text: string): void {
    const printed = this.#printed;
    this.#printed = '';
    // Where it does not match, the difference says more than the pattern.
    if (!this.#pattern(text).test(printed)) expect(printed).toBe(text.trimEnd());
  }

  /** Waits until the other terminal shows this behind what it has shown before. */
  async #look(text: string): Promise<void> {
    const there = this.#there;
    if (!there) throw new Error('there is no other terminal');
    there.expected += text;
    const pattern = this.#pattern(there.expected);
    await there.terminal.until(() => pattern.test(shown(there.terminal)), there.expected, MOST);
    const { groups = {} } = pattern.exec(shown(there.terminal)) ?? {};
    for (const [name, actual] of Object.entries(groups)) this.#ports.set(name.slice(1), actual);
  }

  /** The document's ports replaced by those of this run, as far as they are known. */
  #here(text: string): string {
    return text.replace(
      /localhost:(\d+)/g,
      (_, port: string) => `localhost:${this.#ports.get(port) ?? port}`,
    );
  }

  #pattern(text: string): RegExp {
    const asked = new Set<string>();
    const source = text
      .trimEnd()
      .replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)
      .replace(/^…$/gm, String.raw`[^]*`)
      .replaceAll('…', '.*')
      .replace(/:(\d+)\b/g, (all, port: string) => {
        if (!this.#ports.has(port)) return all;
        const actual = this.#ports.get(port);
        if (actual !== undefined) return `:${actual}`;
        // Told by whoever has it, the first time it is shown.
        const known = asked.has(port);
        asked.add(port);
        return known ? `:\\k<p${port}>` : `:(?<p${port}>\\d+)`;
      });
    return new RegExp(`^${source}$`);
  }
}

const SURROUNDINGS: Record<string, Surroundings> = {
  async 'Cron: work off what has gathered'(cook) {
    const crontab = recipes[0]!.blocks.find(({ language }) => language === 'crontab')!;
    return {
      async check() {
        const lines = Array.from({ length: 200 }, (_, n) => JSON.stringify({ data: { customer: `c${n}` } }));
        cook.kitchen.write('many.ndjson', lines.join('\n'));
        await cook.kitchen.run('queue add reports --ndjson many.ndjson; rm reports.log', {}, MOST);
        await Promise.all([cook.cook(crontab), cook.cook(crontab)]);
        const log = cook.kitchen.read('reports.log');
        expect(log.match(/the report for c\d+/g)?.sort()).toEqual(
          lines.map((_, n) => `the report for c${n}`).sort(),
        );
      },
    };
  },

  async 'E-mail'(cook) {
    const received: string[] = [];
    const server = await mailServer(received);
    cook.knows({ 25: (server.server.address() as AddressInfo).port });
    return {
      async check() {
        const shown = await cook.kitchen.run('queue show mails welcome-ada --json', {}, MOST);
        const [uuid = 'none'] = /[0-9a-f-]{36}/.exec(shown) ?? [];
        expect(received).toHaveLength(1);
        expect(received[0]).toContain(`\r\nMessage-ID: <${uuid}@example.org>\r\n`);
        expect(received[0]).toMatch(/^From: shop@example\.org\r$/m);
        expect(received[0]).toMatch(/^To: ada@example\.org\r$/m);
        expect(received[0]).toMatch(/^Dear Ada\r$/m);
      },
      close: () => new Promise((resolve) => server.close(() => resolve())),
    };
  },

  async 'Deploys: a new version under a full queue'(cook) {
    return {
      check: () => cook.kitchen.compile(['v1/workers/orders.ts', 'v2/workers/orders.ts']),
    };
  },
};

test('the cookbook has ten recipes, and a table of them', () => {
  expect(recipes).toHaveLength(10);
  const listed = [...opening!.prose.matchAll(/^- \[(.+)\]/gm)].map(([, title]) => title);
  expect(listed).toEqual(recipes.map(({ title }) => title));
  expect(Object.keys(SURROUNDINGS).filter((title) => !listed.includes(title))).toEqual([]);
  // Of what is done before a recipe begins, the kitchen has done the like.
  expect(opening!.blocks.map(({ text }) => text.trimEnd())).toEqual([
    'npm init -y\nnpm install coda-queue\nexport PATH="$PWD/node_modules/.bin:$PATH"',
  ]);
});

test.for(recipes)('$title', async (recipe) => {
  const cook = new Cook(recipe);
  const surroundings = await SURROUNDINGS[recipe.title]?.(cook);
  let failure: unknown;
  try {
    for (const block of recipe.blocks) {
      await cook.cook(block).catch((cause: Error) => {
        throw new Error(`docs/cookbook.md:${block.line}: ${cause.message}`, { cause });
      });
    }
    cook.allIsTold();
    await cook.leave();
    await surroundings?.check();
  } catch (error) {
    failure = error;
  }
  await surroundings?.close?.();
  // What a recipe that went wrong leaves behind says less than what went wrong.
  await cook.kitchen.close().catch((error: unknown) => (failure ??= error));
  if (failure) throw failure as Error;
});

/** Takes mail for everybody but nobody. */
async function mailServer(received: string[]): Promise<SMTPServer> {
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    onRcptTo({ address }, _, answer) {
      const refused = address.startsWith('nobody@');
      answer(refused ? Object.assign(new Error('No such mailbox'), { responseCode: 550 }) : null);
    },
    onData(stream, _, answer) {
      stream.on('end', answer);
      void text(stream).then((mail) => received.push(mail));
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
