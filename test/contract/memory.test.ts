import { contract } from './contract.ts';
import { memoryStore } from './stores.ts';

contract('memory', memoryStore);
