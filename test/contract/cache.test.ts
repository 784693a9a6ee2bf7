import { contract } from './contract.ts';
import { cacheStore, tinySegmentsStore } from './stores.ts';

contract('cache', cacheStore);
contract('cache, rotating all the time', tinySegmentsStore);
