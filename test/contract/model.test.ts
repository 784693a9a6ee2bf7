import { model } from './model.ts';
import { cacheStore, memoryStore, tinySegmentsStore } from './stores.ts';

const seeds = (count: number): number[] => Array.from({ length: count }, (_, seed) => seed);

// That the model agrees with itself shows that the comparison leaves out all that may differ.
model('the model', memoryStore, seeds(10));
model('cache', cacheStore, seeds(40));
model('cache, rotating all the time,', tinySegmentsStore, seeds(40));
