/** What a small program does: enqueues one message into the queue below the folder it is given, and ends. */
import { QueueManager } from '../src/index.ts';

const [folder = ''] = process.argv.slice(2);
const manager = await QueueManager.open({ cacheRoot: folder });
await manager.addMessage('mail', { data: { to: 'ada@example.com', subject: 'Welcome aboard' } });
await manager.close();
