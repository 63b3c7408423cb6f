import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '@microbosh/cpi';
import type { CpiConfig, RegistryAccess } from '@microbosh/cpi';
import type { OpenstackClient } from './openstack-client.ts';
import type { OpenstackConfig } from './openstack-config.ts';

/** What every part of this CPI needs. */
export interface OpenstackCloud {
  readonly config: OpenstackConfig;
  readonly client: OpenstackClient;
  /** Merged into every VM's settings. */
  readonly agent: CpiConfig['cloud']['properties']['agent'];
  readonly registry: RegistryAccess | undefined;
}

interface WaitOptions<T> {
  /** 'Server', 'Volume', … for messages. */
  readonly kind: string;
  readonly id: string;
  readonly targets: readonly string[];
  /** Undefined: the object is not there. */
  readonly load: () => Promise<T | undefined>;
  readonly stateOf: (object: T) => string;
  readonly faultOf?: (object: T) => string | undefined;
  readonly absenceIsSuccess?: boolean;
  readonly signal: AbortSignal | undefined;
}

const failures = ['error', 'failed', 'killed', 'error_deleting'];

/** Polls until one of the targets (lower case) is reached; bounded by `state_timeout`. */
export async function waitFor<T>(cloud: OpenstackCloud, options: WaitOptions<T>): Promise<T | undefined> {
  const { kind, id, targets } = options;
  const deadline = Date.now() + cloud.config.stateTimeoutMs;
  // Quick objects are seen quickly; after that the configured interval.
  let pause = Math.min(200, cloud.config.pollIntervalMs);
  for (;;) {
    const object = await options.load();
    if (object === undefined) {
      if (options.absenceIsSuccess) return undefined;
      throw new CloudError(`${kind} \`${id}': Resource not found`);
    }
    const state = options.stateOf(object).toLowerCase();
    if (targets.includes(state)) return object;
    if (failures.includes(state)) {
      const fault = options.faultOf?.(object);
      throw new CloudError(
        `${kind} \`${id}' state is ${state}, expected ${targets.join(', ')}${fault === undefined ? '' : `: ${fault}`}`,
      );
    }
    if (Date.now() + pause > deadline) {
      throw new CloudError(`Timed out waiting for ${kind} \`${id}' to be ${targets.join(', ')}`, {
        okToRetry: true,
        advice: "Raise 'state_timeout' if the cloud is merely slow.",
      });
    }
    await sleep(pause, undefined, options.signal ? { signal: options.signal } : {});
    pause = Math.min(pause * 2, cloud.config.pollIntervalMs);
  }
}
