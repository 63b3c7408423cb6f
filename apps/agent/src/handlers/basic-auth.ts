import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares an Authorization header in constant time, whatever its length. */
export function basicAuthorizer(user: string, password: string): (header: string | undefined) => boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const expected = digest(`Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`);
  return (header) => timingSafeEqual(digest(header ?? ''), expected);
}
