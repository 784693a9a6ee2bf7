/** A client of the server, for its own health check: one call, one answer. */
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { QueueError } from '../errors.ts';
import type { CallAnswer } from './codes.ts';
import type { CallAddress } from './method.ts';

/**
 * Resolves with the answer to a call without arguments.
 * Errors: CALL_FAILED: nobody answers there within `patience` ms, or not what a call server answers.
 */
export async function ask(
  address: CallAddress,
  name: string,
  token: string,
  patience: number,
): Promise<CallAnswer> {
  const packet = `${JSON.stringify({ ...(token === '' ? {} : { token }), name, args: {} })}\n`;
  const { port, scheme } = address;
  // Who listens on all addresses is asked on this machine's own.
  const host = address.host === '0.0.0.0' ? '127.0.0.1' : address.host === '::' ? '::1' : address.host;
  const text = await (scheme === 'tcp' ? askTcp : askUdp)({ host, port }, packet, patience);
  try {
    const { code, message, result } = JSON.parse(text) as CallAnswer;
    if (typeof code === 'number') return { code, message, result };
  } catch {
    // It is told below.
  }
  throw new QueueError('CALL_FAILED', 'expected the answer of a call server, received something else');
}

type Exchange = (to: { host: string; port: number }, packet: string, patience: number) => Promise<string>;

const askTcp: Exchange = (to, packet, patience) =>
  new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(to);
    const timer = setTimeout(() => socket.destroy(tooLate(patience)), patience);
    socket.setEncoding('utf8').on('data', (part: string) => (text += part));
    socket.once('error', reject).once('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
    socket.end(packet);
  });

const askUdp: Exchange = ({ host, port }, packet, patience) =>
  new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    const done = (end: () => void) => (): void => {
      clearTimeout(timer);
      socket.close();
      end();
    };
    const timer = setTimeout(
      done(() => reject(tooLate(patience))),
      patience,
    );
    socket.once('error', (error) => done(() => reject(error))());
    socket.once('message', (bytes) => done(() => resolve(bytes.toString()))());
    // Connected, so that the system tells when nobody listens, and nobody else is heard.
    socket.connect(port, host, () => socket.send(packet));
  });

function tooLate(patience: number): QueueError {
  return new QueueError('CALL_FAILED', `expected an answer within ${patience} ms, received none`);
}
