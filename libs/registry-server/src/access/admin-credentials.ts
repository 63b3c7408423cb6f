import { createHmac, randomBytes } from 'node:crypto';
import type { PasswordHasher } from './passwords.ts';

export type Access = 'read-only' | 'read-write';

/** One administrator, in clear or hashed. Several with the same name are allowed: that is how a password is rotated. */
export type AdminCredential = {
  readonly user: string;
  readonly access: Access;
} & ({ readonly password: string } | { readonly passwordHash: string });

export interface AdminIdentity {
  readonly kind: 'admin';
  readonly name: string;
  readonly access: Access;
}

/** More slow checks at a time than this wait in line; a longer line is turned away. */
const PARALLEL_CHECKS = 2;
const MAX_WAITING_CHECKS = 64;

/**
 * Checks user and password against the slow hashes, once per pair: a pair that was right is remembered under a keyed
 * digest, so that later requests cost one HMAC. A wrong pair costs the same whether or not the user exists.
 */
export class AdminCredentials {
  readonly #hasher: PasswordHasher;
  readonly #digestKey = randomBytes(32);
  #admins: readonly { readonly user: string; readonly access: Access; readonly hash: Promise<string> }[] = [];
  readonly #decoy: string;
  #verified = new Map<string, AdminIdentity>();
  #running = 0;
  readonly #line: (() => void)[] = [];

  constructor(credentials: readonly AdminCredential[], hasher: PasswordHasher) {
    this.#hasher = hasher;
    this.#decoy = hasher.decoy();
    this.replace(credentials);
  }

  /** Forgets all that was verified before. */
  replace(credentials: readonly AdminCredential[]): void {
    this.#admins = credentials.map((credential) => {
      const hash =
        'passwordHash' in credential
          ? Promise.resolve(credential.passwordHash)
          : this.#hasher.hash(credential.password);
      hash.catch(() => undefined);
      return { user: credential.user, access: credential.access, hash };
    });
    this.#verified = new Map();
  }

  /** The identity when this pair was found right before. */
  remembered(user: string, password: string): AdminIdentity | undefined {
    return this.#verified.get(this.#digest(user, password));
  }

  /** `busy`: too many unknown pairs are being checked. */
  async check(user: string, password: string): Promise<AdminIdentity | 'wrong' | 'busy'> {
    if (this.#running >= PARALLEL_CHECKS) {
      if (this.#line.length >= MAX_WAITING_CHECKS) return 'busy';
      await new Promise<void>((resolve) => this.#line.push(resolve));
    }
    this.#running += 1;
    try {
      return await this.#compare(user, password);
    } finally {
      this.#running -= 1;
      this.#line.shift()?.();
    }
  }

  async #compare(user: string, password: string): Promise<AdminIdentity | 'wrong'> {
    const remembered = this.remembered(user, password);
    if (remembered) return remembered;
    const verified = this.#verified;
    const candidates = this.#admins.filter((admin) => admin.user === user);
    let found: AdminIdentity | undefined;
    for (const candidate of candidates) {
      const right = await this.#hasher.verify(password, await candidate.hash);
      if (right) found ??= { kind: 'admin', name: candidate.user, access: candidate.access };
    }
    // Nobody must learn from the time of the answer which users exist.
    if (candidates.length === 0) await this.#hasher.verify(password, this.#decoy);
    if (!found) return 'wrong';
    verified.set(this.#digest(user, password), found);
    return found;
  }

  #digest(user: string, password: string): string {
    return createHmac('sha256', this.#digestKey).update(`${user.length}:${user}${password}`).digest('base64');
  }
}
