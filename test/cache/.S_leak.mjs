import { createJiti } from 'jiti';
await createJiti(import.meta.url).import('./.S_leak.ts');
