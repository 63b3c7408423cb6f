import { messageOf } from '@microbosh/errors';
import type { Registry } from '../registry.ts';
import type { SealedSettings, TokenRow } from '../ports/store.ts';
import type { CachedInstanceAddresses } from './address-check.ts';
import type { Access, AdminCredentials } from './admin-credentials.ts';
import type { Presented } from './authorization-header.ts';
import type { ClientAddress } from './client-address.ts';
import type { FailedLogins } from './failed-logins.ts';
import { hashReadToken, isReadToken } from './read-tokens.ts';

/** The client certificate that a listener has verified against its CA. */
export interface ClientCertificate {
  readonly commonName: string;
}

export interface CertificateRule {
  /** The common name of the subject; `*` only with `own-instance`. */
  readonly commonName: string;
  /** `own-instance`: may read the settings of the instance that the common name names, nothing else. */
  readonly access: Access | 'own-instance';
}

export interface Caller {
  readonly presented: Presented;
  readonly client: ClientAddress;
  readonly certificate?: ClientCertificate;
}

export type Identity =
  | { readonly kind: 'admin'; readonly name: string; readonly access: Access }
  | { readonly kind: 'certificate'; readonly name: string; readonly access: Access | 'own-instance' }
  | { readonly kind: 'token'; readonly name: string; readonly tokenHash: string }
  | { readonly kind: 'address'; readonly name: string }
  | { readonly kind: 'loopback'; readonly name: string };

export type DenialReason =
  | 'no-credentials'
  | 'wrong-credentials'
  | 'unknown-token'
  | 'expired-token'
  | 'spent-token'
  | 'read-only'
  | 'address-mismatch'
  | 'address-lookup-failed'
  | 'too-many-failures'
  | 'busy';

export interface Denial {
  readonly denied: DenialReason;
  readonly retryAfterMs?: number;
  /** For the log only. */
  readonly cause?: string;
}

export interface ReadGrant {
  readonly identity: Identity;
  readonly settings?: SealedSettings;
}

export interface GatekeeperOptions {
  readonly registry: Registry;
  readonly admins: AdminCredentials;
  readonly failedLogins: FailedLogins;
  readonly certificateRules?: readonly CertificateRule[];
  readonly addresses?: CachedInstanceAddresses;
  /** Lets requests from this machine read without credentials. Default false. */
  readonly allowLoopbackReads?: boolean;
}

export function isDenial(value: object): value is Denial {
  return 'denied' in value;
}

/** Decides who may do what. Every way out is either a grant or a denial with its reason. */
export class Gatekeeper {
  readonly #registry: Registry;
  readonly #admins: AdminCredentials;
  readonly #failedLogins: FailedLogins;
  readonly #certificateRules: readonly CertificateRule[];
  readonly #addresses: CachedInstanceAddresses | undefined;
  readonly #allowLoopbackReads: boolean;

  constructor(options: GatekeeperOptions) {
    this.#registry = options.registry;
    this.#admins = options.admins;
    this.#failedLogins = options.failedLogins;
    this.#certificateRules = options.certificateRules ?? [];
    this.#addresses = options.addresses;
    this.#allowLoopbackReads = options.allowLoopbackReads ?? false;
  }

  /** For everything but the read of an instance's settings. */
  async admit(caller: Caller, need: Access): Promise<Identity | Denial> {
    const identity = this.#certificateIdentity(caller, undefined) ?? (await this.#adminIdentity(caller));
    if (isDenial(identity)) return identity;
    const allowed = identity.access === 'read-write' || identity.access === need;
    return allowed ? identity : { denied: 'read-only' };
  }

  /** For the read of one instance's settings: administrator, certificate, token, source address, loopback, in this order. */
  async admitRead(caller: Caller, instanceId: string): Promise<ReadGrant | Denial> {
    const certificate = this.#certificateIdentity(caller, instanceId);
    if (certificate) return this.#grant(certificate, instanceId);

    const token = presentedToken(caller.presented);
    if (token !== undefined) {
      const grant = await this.#tokenGrant(caller, instanceId, token);
      return isDenial(grant) ? this.#withoutCredentials(caller, instanceId, grant) : grant;
    }
    const admin = await this.#adminIdentity(caller);
    if (!isDenial(admin)) return this.#grant(admin, instanceId);
    return this.#withoutCredentials(caller, instanceId, admin);
  }

  /** The token of this caller when it is one of this instance and good now; for the confirmation of a read. */
  async admitToken(caller: Caller, instanceId: string): Promise<ReadGrant | Denial> {
    const token = presentedToken(caller.presented);
    if (token === undefined) return { denied: 'no-credentials' };
    return this.#tokenGrant(caller, instanceId, token);
  }

  async #grant(identity: Identity, instanceId: string): Promise<ReadGrant> {
    const settings = await this.#registry.store.read(instanceId);
    return { identity, ...(settings ? { settings } : {}) };
  }

  async #tokenGrant(caller: Caller, instanceId: string, token: string): Promise<ReadGrant | Denial> {
    const tokenHash = hashReadToken(token);
    const found = await this.#registry.store.readWithToken(instanceId, tokenHash);
    const refusal = refusalOf(found.token, this.#registry.clock());
    if (refusal) return this.#failed(caller, refusal);
    return {
      identity: { kind: 'token', name: found.token?.tokenId ?? '', tokenHash },
      ...(found.settings ? { settings: found.settings } : {}),
    };
  }

  async #adminIdentity(
    caller: Caller,
  ): Promise<{ readonly kind: 'admin'; readonly name: string; readonly access: Access } | Denial> {
    const { presented } = caller;
    if (presented.kind === 'none') return { denied: 'no-credentials' };
    if (presented.kind !== 'basic' || isReadToken(presented.password)) {
      return this.#failed(caller, 'wrong-credentials');
    }
    // Checked before: an address under limit never locks out who has shown the right password.
    const remembered = this.#admins.remembered(presented.user, presented.password);
    if (remembered) return remembered;
    const waitMs = this.#failedLogins.waitMs(caller.client.address);
    if (waitMs > 0) return { denied: 'too-many-failures', retryAfterMs: waitMs };
    const result = await this.#admins.check(presented.user, presented.password);
    if (result === 'busy') return { denied: 'busy', retryAfterMs: 1_000 };
    return result === 'wrong' ? this.#failed(caller, 'wrong-credentials') : result;
  }

  #failed(caller: Caller, reason: DenialReason): Denial {
    this.#failedLogins.add(caller.client.address);
    const waitMs = this.#failedLogins.waitMs(caller.client.address);
    return waitMs > 0 ? { denied: 'too-many-failures', retryAfterMs: waitMs } : { denied: reason };
  }

  #certificateIdentity(
    caller: Caller,
    instanceId: string | undefined,
  ):
    | { readonly kind: 'certificate'; readonly name: string; readonly access: Access | 'own-instance' }
    | undefined {
    const name = caller.certificate?.commonName;
    if (name === undefined) return undefined;
    for (const rule of this.#certificateRules) {
      if (rule.access === 'own-instance') {
        const named = rule.commonName === '*' || rule.commonName === name;
        if (named && name === instanceId) return { kind: 'certificate', name, access: rule.access };
      } else if (rule.commonName === name) {
        return { kind: 'certificate', name, access: rule.access };
      }
    }
    return undefined;
  }

  async #withoutCredentials(caller: Caller, instanceId: string, denial: Denial): Promise<ReadGrant | Denial> {
    const { address, isLoopback } = caller.client;
    if (this.#allowLoopbackReads && isLoopback) {
      return this.#grant({ kind: 'loopback', name: address }, instanceId);
    }
    if (!this.#addresses) return denial;
    let isOwn: boolean;
    try {
      isOwn = await this.#addresses.has(instanceId, address);
    } catch (error) {
      return { denied: 'address-lookup-failed', retryAfterMs: 1_000, cause: messageOf(error) };
    }
    if (isOwn) return this.#grant({ kind: 'address', name: address }, instanceId);
    return denial.denied === 'no-credentials' ? { denied: 'address-mismatch' } : denial;
  }
}

function presentedToken(presented: Presented): string | undefined {
  const candidate =
    presented.kind === 'basic' ? presented.password : presented.kind === 'bearer' ? presented.token : '';
  return isReadToken(candidate) ? candidate : undefined;
}

function refusalOf(token: TokenRow | undefined, nowMs: number): DenialReason | undefined {
  if (!token) return 'unknown-token';
  if (token.expiresAtMs !== undefined && token.expiresAtMs <= nowMs) return 'expired-token';
  if (token.maxReads !== undefined && token.confirmedReads >= token.maxReads) return 'spent-token';
  return undefined;
}
