/** Several servers of one message bus, in `env.bosh.mbus.urls`; undefined when there are none. */
export function mbusUrls(bosh: unknown): readonly string[] | undefined {
  const urls = member(member(bosh, 'mbus'), 'urls');
  if (!Array.isArray(urls) || urls.length === 0) return undefined;
  return urls.filter((url): url is string => typeof url === 'string');
}

export function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}
