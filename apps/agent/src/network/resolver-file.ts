/** Name servers of a resolv.conf. */
export function parseNameservers(text: string): readonly string[] {
  return [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1] ?? '');
}

/** The file with these name servers first and its other lines (search, options) kept. */
export function renderResolverFile(current: string, servers: readonly string[]): string {
  const others = current.split('\n').filter((line) => line.trim() !== '' && !/^\s*nameserver\s/.test(line));
  return [...servers.map((server) => `nameserver ${server}`), ...others, ''].join('\n');
}
