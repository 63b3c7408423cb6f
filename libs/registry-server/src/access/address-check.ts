import { AddressLookupFailed } from '../errors.ts';
import { messageOf } from '@microbosh/errors';

/** Knows from the IaaS which addresses an instance has. */
export interface InstanceAddresses {
  /** Normalised addresses; empty when the IaaS does not know the instance. */
  addressesOf(instanceId: string, signal: AbortSignal): Promise<readonly string[]>;
}

export interface AddressCacheOptions {
  /** How long an answer with addresses is believed. Default 30 000 ms. */
  readonly knownForMs?: number;
  /** How long "no such instance" is believed. Default 3 000 ms. */
  readonly unknownForMs?: number;
  /** One question to the IaaS may take this long. Default 5 000 ms. */
  readonly timeoutMs?: number;
  readonly clock?: () => number;
}

const MAX_ENTRIES = 10_000;
const MAX_LOOKUPS = 16;

/** Asks the IaaS at most once at a time for each instance, with a time limit, and remembers the answer for a while. */
export class CachedInstanceAddresses {
  readonly #source: InstanceAddresses;
  readonly #knownForMs: number;
  readonly #unknownForMs: number;
  readonly #timeoutMs: number;
  readonly #clock: () => number;
  readonly #cache = new Map<string, { readonly addresses: readonly string[]; readonly untilMs: number }>();
  readonly #asking = new Map<string, Promise<readonly string[]>>();

  constructor(source: InstanceAddresses, options: AddressCacheOptions = {}) {
    this.#source = source;
    this.#knownForMs = options.knownForMs ?? 30_000;
    this.#unknownForMs = options.unknownForMs ?? 3_000;
    this.#timeoutMs = options.timeoutMs ?? 5_000;
    this.#clock = options.clock ?? Date.now;
  }

  /** Rejects with AddressLookupFailed when the IaaS does not answer in time. */
  async has(instanceId: string, address: string): Promise<boolean> {
    const cached = this.#cache.get(instanceId);
    if (cached && cached.untilMs > this.#clock()) return cached.addresses.includes(address);
    let asking = this.#asking.get(instanceId);
    if (!asking) {
      if (this.#asking.size >= MAX_LOOKUPS) {
        throw new AddressLookupFailed('Too many questions to the IaaS are open; this one was not asked.');
      }
      asking = this.#ask(instanceId).finally(() => this.#asking.delete(instanceId));
      this.#asking.set(instanceId, asking);
    }
    return (await asking).includes(address);
  }

  async #ask(instanceId: string): Promise<readonly string[]> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    const overdue = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    let addresses: readonly string[];
    try {
      addresses = await Promise.race([this.#source.addressesOf(instanceId, signal), overdue]);
    } catch (error) {
      throw new AddressLookupFailed(
        `The IaaS did not tell the addresses of the instance: ${messageOf(error)}`,
        {
          details: { instanceId },
          cause: error,
        },
      );
    }
    if (this.#cache.size >= MAX_ENTRIES) this.#cache.clear();
    const forMs = addresses.length > 0 ? this.#knownForMs : this.#unknownForMs;
    this.#cache.set(instanceId, { addresses, untilMs: this.#clock() + forMs });
    return addresses;
  }
}
