/** The compiled engine, for programs that run as processes of their own; `npm test` compiles it first. */
const DIST = new URL('../../dist/', import.meta.url);

/** @type {typeof import('../../src/cache/backend.ts')} */
export const { openCache } = await import(new URL('src/cache/backend.js', DIST).href);
