import { isIPv6 } from 'node:net';

export interface Destination {
  readonly ip: string;
  readonly port?: number;
  /** For the reader of the rules. */
  readonly what: string;
}

export interface FirewallPolicy {
  /** Where users of the machine, other than root, must not connect to. */
  readonly denied: readonly Destination[];
  /** Port on which the agent itself listens. */
  readonly agentPort?: number;
}

export const monitPort = 2822;

/** Chain → its lines, spelled as `nft list table` prints them, so that they can be compared. */
export function renderChains(policy: FirewallPolicy): ReadonlyMap<string, readonly string[]> {
  const hook = 'type filter hook output priority filter - 1; policy accept;';
  const established = 'ct state established,related accept';
  return new Map([
    [
      'monit_access',
      [
        hook,
        'jump monit_access_jobs',
        established,
        `ip daddr 127.0.0.1 tcp dport ${monitPort} meta skuid 0 accept`,
        `ip daddr 127.0.0.1 tcp dport ${monitPort} drop`,
      ],
    ],
    [
      'agent_access',
      [
        hook,
        established,
        'meta skuid 0 accept',
        ...policy.denied.map((each) => `${destination(each)} drop comment "${each.what}"`),
        ...(policy.agentPort === undefined
          ? []
          : [`fib daddr type local tcp dport ${policy.agentPort} drop comment "message bus"`]),
      ],
    ],
  ]);
}

function destination({ ip, port }: Destination): string {
  return `${isIPv6(ip) ? 'ip6' : 'ip'} daddr ${ip}${port === undefined ? '' : ` tcp dport ${port}`}`;
}

/** A transaction for `nft -f -`: the chains of jobs stay, ours are filled anew. */
export function renderTransaction(chains: ReadonlyMap<string, readonly string[]>): string {
  const declare = ['table inet bosh_agent {', '\tchain monit_access_jobs {', '\t}'];
  const flush: string[] = [];
  const fill = ['table inet bosh_agent {'];
  for (const [name, lines] of chains) {
    declare.push(`\tchain ${name} {`, `\t\t${lines[0]}`, '\t}');
    flush.push(`flush chain inet bosh_agent ${name}`);
    fill.push(`\tchain ${name} {`, ...lines.slice(1).map((line) => `\t\t${line}`), '\t}');
  }
  return [...declare, '}', ...flush, ...fill, '}', ''].join('\n');
}

/** Chain → lines, from `nft list table inet bosh_agent`. */
export function parseChains(listing: string): ReadonlyMap<string, readonly string[]> {
  const chains = new Map<string, string[]>();
  let current: string[] | undefined;
  for (const line of listing.split('\n').map((each) => each.trim())) {
    const name = /^chain (\S+) \{$/.exec(line)?.[1];
    if (name !== undefined) {
      current = [];
      chains.set(name, current);
    } else if (line === '}') current = undefined;
    else if (line !== '') current?.push(line);
  }
  return chains;
}

/** Rules of one family for the chain `agent-filter` of iptables, as `-S` prints them. */
export function renderIptables(policy: FirewallPolicy, family: 4 | 6): readonly string[] {
  const owner = '-m owner ! --uid-owner 0 -j DROP';
  const bits = family === 4 ? 32 : 128;
  const address = (ip: string) => (ip.includes('/') ? ip : `${ip}/${bits}`);
  const own = policy.denied.filter(({ ip }) => ip.includes(':') === (family === 6));
  return [
    ...own.map(({ ip, port }) =>
      port === undefined
        ? `-A agent-filter -d ${address(ip)} ${owner}`
        : `-A agent-filter -d ${address(ip)} -p tcp -m tcp --dport ${port} ${owner}`,
    ),
    ...(policy.agentPort === undefined
      ? []
      : [`-A agent-filter -o lo -p tcp -m tcp --dport ${policy.agentPort} ${owner}`]),
    ...(family === 4 ? [`-A agent-filter -d 127.0.0.1/32 -p tcp -m tcp --dport ${monitPort} ${owner}`] : []),
  ];
}
