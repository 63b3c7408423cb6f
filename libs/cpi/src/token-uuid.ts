import { createHash, randomUUID } from 'node:crypto';

/** A UUID that follows from the idempotency token: the same call finds what its first try has made. */
export function uuidFor(token: string | undefined): string {
  if (token === undefined) return randomUUID();
  const hex = createHash('sha256').update(`microbosh ${token}`).digest('hex');
  const variant = ((Number.parseInt(hex.slice(16, 18), 16) & 0x3f) | 0x80).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(18, 20)}-${hex.slice(20, 32)}`;
}
