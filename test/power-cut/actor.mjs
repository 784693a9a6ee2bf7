/** Starts an actor as a process of its own: see actor.ts. */
import { createJiti } from 'jiti';

const { act } = await createJiti(import.meta.url).import('./actor.ts');
process.on('disconnect', () => process.exit());
process.send('ready');
await act(JSON.parse(process.argv[2]));
