export interface Figure {
  readonly label: string;
  readonly value: number;
  /** 'ms', 's', 'MiB', 'x' (a ratio of two measurements of this run), 'req/s', … */
  readonly unit: string;
  /** What the project aims at, in words: '<= 1.3 x'. */
  readonly aim?: string;
}

export interface BenchResult {
  readonly name: string;
  readonly figures: readonly Figure[];
}

/** Milliseconds of one call. */
export async function timeMs(action: () => unknown): Promise<number> {
  const start = process.hrtime.bigint();
  await action();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

/** Median of several calls, in milliseconds: robust against a busy machine, unlike the mean. */
export async function medianMs(runs: number, action: () => unknown): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < runs; i += 1) times.push(await timeMs(action));
  times.sort((a, b) => a - b);
  return times[Math.floor(times.length / 2)] ?? Number.NaN;
}
