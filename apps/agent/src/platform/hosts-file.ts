/** The first lines of /etc/hosts, as the Go agent writes them. */
export function hostsTemplate(id: string): readonly string[] {
  return [
    `127.0.0.1 ${id} localhost`,
    '',
    '# The following lines are desirable for IPv6 capable hosts',
    `::1 ${id} localhost ip6-localhost ip6-loopback`,
    'fe00::0 ip6-localnet',
    'ff00::0 ip6-mcastprefix',
    'ff02::1 ip6-allnodes',
    'ff02::2 ip6-allrouters',
    'ff02::3 ip6-allhosts',
  ];
}

const ownAddresses = new Set(['127.0.0.1', '::1', 'fe00::0', 'ff00::0', 'ff02::1', 'ff02::2', 'ff02::3']);

/** The template, followed by the entries for other machines that stand in the file already (those of sync_dns). */
export function mergeHosts(current: string, template: readonly string[]): string {
  const others = current
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#') && !ownAddresses.has(line.split(/\s+/)[0] ?? ''));
  return [...template, ...others, ''].join('\n');
}
