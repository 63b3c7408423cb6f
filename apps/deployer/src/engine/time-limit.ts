/** Runs a call to its end or to the limit; then its signal is aborted and `late` thrown, whether the call obeys or not. */
export async function withTimeLimit<T>(
  limitMs: number,
  late: () => Error,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => {
        reject(late());
        abort.abort();
      },
      Math.min(limitMs, 2 ** 31 - 1),
    );
  });
  const answer = call(abort.signal);
  // Whoever loses the race has nobody left to hear of it.
  answer.catch(() => undefined);
  try {
    return await Promise.race([answer, over]);
  } finally {
    clearTimeout(timer);
  }
}
