/** Loaded before `queue-daemon run` and `queue-worker` in a child of the supervisor, so that neither outlives it. Nobody loads it by hand. */
import { takeLifeline, watchMaster } from '../../src/supervisor/lifeline.ts';

const lifeline = takeLifeline(process.env);
if (lifeline) watchMaster(lifeline.master, lifeline.patience);
