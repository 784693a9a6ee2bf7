/** Where a server may listen. Beyond this machine only with a token, and never where answers go to whom nobody knows. */
import { lookup } from 'node:dns/promises';
import { BlockList, isIPv6 } from 'node:net';
import { QueueError, quote } from '../errors.ts';

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/**
 * Resolves with the address of a host at which a server may listen.
 * Errors: CONFIG_INVALID: it is not this machine's alone, without a token or over UDP; CALL_FAILED: there is no such host.
 */
export async function addressOf(host: string, scheme: 'tcp' | 'udp', hasToken: boolean): Promise<string> {
  let addresses: string[];
  try {
    // '' would mean all of them.
    addresses = (await lookup(host === '' ? '::' : host, { all: true })).map(({ address }) => address);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'it cannot be looked up';
    throw new QueueError('CALL_FAILED', `host ${quote(host)}: ${why}`, { cause });
  }
  const beyond = addresses.find((address) => !isLoopback(address));
  if (beyond !== undefined && scheme === 'udp') {
    throw new QueueError(
      'CONFIG_INVALID',
      `host ${quote(host)}: expected an address of this machine alone (127.0.0.1, ::1), as anybody can send a datagram in` +
        ` another's name; received ${quote(beyond)}. For other machines there is tcp, with a token`,
    );
  }
  if (beyond !== undefined && !hasToken) {
    throw new QueueError(
      'CONFIG_INVALID',
      `host ${quote(host)}: expected a token, as ${quote(beyond)} can be reached from other machines; received none`,
    );
  }
  return addresses[0]!;
}

function isLoopback(address: string): boolean {
  // Addresses of one link come with its name: fe80::1%eth0.
  const [bare = ''] = address.split('%');
  return LOOPBACK.check(bare, isIPv6(bare) ? 'ipv6' : 'ipv4');
}
