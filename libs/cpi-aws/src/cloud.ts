import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '@microbosh/cpi';
import type { CpiConfig, RegistryAccess } from '@microbosh/cpi';
import type { AwsClients } from './aws-clients.ts';
import type { AwsProperties } from './aws-config.ts';

/** What every part of this CPI needs. */
export interface AwsCloud {
  readonly properties: AwsProperties;
  readonly clients: AwsClients;
  readonly agent: CpiConfig['cloud']['properties']['agent'];
  readonly registry: RegistryAccess | undefined;
  /** First pause of a wait; it doubles up to 32 times this. */
  readonly pollMs: number;
}

/** Code of a service error: `InvalidVolume.NotFound`, `RequestLimitExceeded`, … */
export function serviceCode(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

/** The services' ways to say that something is not there. */
export function isNotFound(error: unknown): boolean {
  return /NotFound|Unavailable$/.test(serviceCode(error)) && serviceCode(error) !== 'ServiceUnavailable';
}

interface WaitOptions {
  readonly id: string;
  readonly target: string;
  /** The state now; undefined: not there. */
  readonly state: () => Promise<string | undefined>;
  readonly failures?: readonly string[];
  readonly absenceIsSuccess?: boolean;
  readonly signal: AbortSignal | undefined;
}

/** At most 54 looks, pauses doubling; an object that is not there *yet* is looked for again. */
export async function waitFor(cloud: AwsCloud, options: WaitOptions): Promise<void> {
  const started = Date.now();
  const took = (): string => `took ${Math.round((Date.now() - started) / 1000)}s`;
  let pause = cloud.pollMs;
  for (let look = 1; look <= 54; look += 1) {
    const state = await options.state().catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    if (state === options.target) return;
    if (state === undefined && options.absenceIsSuccess) return;
    if (state !== undefined && (options.failures ?? ['error', 'failed']).includes(state)) {
      throw new CloudError(`${options.id} state is ${state}, expected ${options.target}, ${took()}`);
    }
    await sleep(pause, undefined, options.signal ? { signal: options.signal } : {});
    pause = Math.min(pause * 2, cloud.pollMs * 32);
  }
  throw new CloudError(`Timed out waiting for ${options.id} to be ${options.target}, ${took()}`, {
    okToRetry: true,
  });
}

/** Repeats while the service answers one of the codes. */
export async function repeatOn<T>(
  codes: readonly string[],
  limit: { readonly attempts: number; readonly pauseMs: number },
  signal: AbortSignal | undefined,
  action: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await action();
    } catch (error) {
      if (attempt >= limit.attempts || !codes.includes(serviceCode(error))) throw error;
    }
    await sleep(limit.pauseMs, undefined, signal ? { signal } : {});
  }
}
