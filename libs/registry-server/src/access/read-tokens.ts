import { hash, randomBytes } from 'node:crypto';

/** `mbt_` and 32 random bytes in base64url: safe as the password in the user-info part of a URL. */
const TOKEN = /^mbt_[A-Za-z0-9_-]{43}$/;

export function mintReadToken(): string {
  return `mbt_${randomBytes(32).toString('base64url')}`;
}

export function isReadToken(text: string): boolean {
  return TOKEN.test(text);
}

/** What the store keeps of a token. A fast hash is enough for 256 random bits. */
export function hashReadToken(token: string): string {
  return hash('sha256', token, 'hex');
}

/** Names a token in listings and in the audit without helping to guess it. */
export function readTokenId(tokenHash: string): string {
  return tokenHash.slice(0, 16);
}
