/** Loaded before `queue-daemon run` in a child of the supervisor, so that no daemon outlives it. Nobody loads it by hand. */
import { takeLifeline, watchMaster } from '../../src/supervisor/lifeline.ts';

const lifeline = takeLifeline(process.env);
if (lifeline) watchMaster(lifeline.master, lifeline.patience);
