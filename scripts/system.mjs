/**
 * Has a daemon run as a service of a real systemd (`npm run test:system -- [--base FOLDER]`): one that is process 1 of namespaces and
 * of a root filesystem of its own, which debootstrap makes in FOLDER if it is not there. Needs Linux, root and a
 * Debian mirror; where it cannot be done it says so, with exit code 69.
 */
import { createJiti } from 'jiti';

const { main } = await createJiti(import.meta.url).import('../test/system/system-command.ts');
process.exitCode = await main(process.argv.slice(2));
