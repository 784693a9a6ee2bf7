/** What the promise resolves with, which may be never; undefined as soon as the signal fires. */
export async function unless<Value>(
  signal: AbortSignal,
  promise: Promise<Value>,
): Promise<Value | undefined> {
  if (signal.aborted) return undefined;
  let end = (): void => undefined;
  const fired = new Promise<undefined>((resolve) => {
    end = () => resolve(undefined);
    signal.addEventListener('abort', end);
  });
  try {
    return await Promise.race([promise, fired]);
  } finally {
    signal.removeEventListener('abort', end);
  }
}
