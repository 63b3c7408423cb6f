/** What a request brings to prove who sends it. */
export type Presented =
  | { readonly kind: 'none' }
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'basic'; readonly user: string; readonly password: string }
  | { readonly kind: 'bearer'; readonly token: string };

/** The scheme is case-insensitive; the pair is split at the first colon, so passwords may hold colons. */
export function parseAuthorization(header: string | undefined): Presented {
  if (header === undefined || header === '') return { kind: 'none' };
  const space = header.indexOf(' ');
  const scheme = header.slice(0, space).toLowerCase();
  const rest = header.slice(space + 1).trim();
  if (space < 0 || rest === '') return { kind: 'unreadable' };
  if (scheme === 'bearer') return { kind: 'bearer', token: rest };
  if (scheme !== 'basic') return { kind: 'unreadable' };
  const pair = Buffer.from(rest, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  if (colon < 0) return { kind: 'unreadable' };
  return { kind: 'basic', user: pair.slice(0, colon), password: pair.slice(colon + 1) };
}
