/** The program of a supervisor's child that runs a class; see src/supervisor/host.ts. Nobody starts it by hand. */
import { Socket } from 'node:net';
import * as library from '../../src/index.ts';
import { runHost } from '../../src/supervisor/host.ts';
import { EXIT } from '../exit-codes.ts';
import { flush } from '../output.ts';

/** As the supervisor starts it: descriptors to it, and from it. */
const TOLD = 3;
const ORDERS = 4;

const stop = new AbortController();
for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => stop.abort());
// The end of a terminal is told to the supervisor, which says what it means.
process.on('SIGHUP', () => undefined);

const pipes = {
  incoming: new Socket({ fd: ORDERS, readable: true, writable: false }),
  outgoing: new Socket({ fd: TOLD, readable: false, writable: true }),
};
const well = await runHost({ pipes, library }, stop.signal);
await flush();
// What a process has left open must not keep it.
process.exit(well ? EXIT.ok : EXIT.failure);
