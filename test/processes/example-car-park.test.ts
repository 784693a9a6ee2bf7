/** examples/car-park, as its README tells to use it. */
import { cpSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { text } from 'node:stream/consumers';
import { expect } from 'vitest';
import { overseerTest as test, type Overseer } from './overseer.ts';
import { until } from './stage.ts';

const EXAMPLE = fileURLToPath(new URL('../../examples/car-park', import.meta.url));

/** Any port that is free, for the usual one may be taken. */
const ENV = { CODA_DESTINATION: 'stderr', CODA_CALL_PORT: '0' };

async function ctl(yard: Overseer, ...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await yard.verb('ctl', ...args, '--json');
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** One request as a legacy client sends it, with `nom` and no quotes: the server answers and closes. */
async function call(port: number, packet: string): Promise<unknown> {
  const socket = connect(port, '127.0.0.1');
  socket.write(packet);
  return JSON.parse(await text(socket));
}

test('the car park opens, lets cars pass, answers whoever asks, survives its own killing, and closes', async ({
  yard,
}) => {
  cpSync(EXAMPLE, yard.folder, { recursive: true });
  const park = yard.bench.start('queue-daemon', ['supervise'], ENV);
  let said = '';
  park.process.stderr.on('data', (part: string) => (said += part));
  await park.said('the control API listens');
  for (const name of ['gate-in', 'gate-out', 'booking', 'calls']) await yard.up(name);

  await ctl(yard, 'command', 'gate-in', 'pass', '{"plate":"TEST 1"}');
  await until(async () => {
    const { inside } = (await yard.ask('GET', '/api/park')) as { inside: string[] };
    return inside.includes('TEST 1');
  });
  await yard.ask('POST', '/api/park/open', { plate: 'TEST 2' });
  const port = Number(/"port":(\d+)/.exec(said)?.[1]);
  const where = (plate: string): Promise<unknown> =>
    call(port, `{nom:"car.where",args:{plate:"${plate}"}}\n`);
  await until(async () => ((await where('TEST 2')) as { code: number }).code === 0);
  expect(await where('TEST 2')).toMatchObject({ code: 0, message: 'inside', result: { plate: 'TEST 2' } });
  expect(await where('NOBODY')).toMatchObject({ code: 100, result: null });

  const [before = 0] = await yard.up('booking');
  process.kill(before, 'SIGKILL');
  await ctl(yard, 'command', 'gate-out', 'pass', '{"plate":"TEST 1"}');
  await until(async () => {
    const { message } = (await where('TEST 1')) as { message: string };
    return message === 'gone';
  });
  const [after] = await yard.up('booking');
  expect(after).not.toBe(before);

  expect(await ctl(yard, 'status')).toMatchObject({ master: { state: 'running' } });
  expect(await yard.ended(park)).toBe(0);
  expect(yard.running()).toEqual([]);
});
