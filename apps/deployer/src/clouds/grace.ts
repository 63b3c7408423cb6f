/** How long a CPI may go on with the call it is in, after the operator has asked to stop. */
export const callGraceMs = 60_000;

export interface Grace {
  /** Aborts `graceMs` after the signal that it was made from. */
  readonly signal: AbortSignal;
  dispose(): void;
}

/**
 * Calls that are under way when the operator asks to stop may come to their end, so that their result is known; one that
 * hangs is ended after this time.
 */
export function graceAfterAbort(signal: AbortSignal, graceMs: number): Grace {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    timer = setTimeout(() => controller.abort(signal.reason), graceMs);
    timer.unref();
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return {
    signal: controller.signal,
    dispose: () => {
      signal.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    },
  };
}
