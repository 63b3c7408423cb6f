import { messageOf } from '@microbosh/errors';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Change } from '../bootstrap/step.ts';
import type { HostContext } from '../platform/host-context.ts';
import { which } from '../platform/which.ts';
import { mbusUrls } from '../settings/mbus-urls.ts';
import {
  parseChains,
  renderChains,
  renderIptables,
  renderTransaction,
  type Destination,
  type FirewallPolicy,
} from './firewall-rules.ts';

const metadataAddress = '169.254.169.254';

/** Rules on what leaves the machine, by the user who sends it. */
export class FirewallSetup {
  readonly #context: HostContext;
  readonly #tool: 'nft' | 'iptables';
  #policy: FirewallPolicy | undefined;

  constructor(context: HostContext, tool: 'nft' | 'iptables') {
    this.#context = context;
    this.#tool = tool;
  }

  /** With the tool that this machine has; undefined when it has none. */
  static async detect(context: HostContext): Promise<FirewallSetup | undefined> {
    const [nft, iptables] = await Promise.all([which('nft'), which('iptables')]);
    if (nft !== undefined && !context.linux.UseMonitIptablesFirewall)
      return new FirewallSetup(context, 'nft');
    return iptables === undefined ? undefined : new FirewallSetup(context, 'iptables');
  }

  async probe(signal: AbortSignal): Promise<readonly Change[]> {
    this.#policy ??= await this.#decide();
    return this.#tool === 'nft'
      ? this.#probeNft(this.#policy, signal)
      : this.#probeIptables(this.#policy, signal);
  }

  async #decide(): Promise<FirewallPolicy> {
    const settings = this.#context.settings.current();
    const registry = this.#context.settings.registryEndpoint;
    const mbus = URL.canParse(settings.mbus) ? new URL(settings.mbus) : undefined;
    const isServer = mbus?.protocol === 'https:';
    const port = (url: URL, fallback: number) => (url.port === '' ? fallback : Number(url.port));
    const denied: Destination[] = [{ ip: metadataAddress, what: 'metadata service' }];
    if (registry) {
      denied.push(
        ...(await this.#resolve(
          registry,
          port(registry, registry.protocol === 'https:' ? 443 : 80),
          'registry',
        )),
      );
    }
    const servers = isServer ? [] : (mbusUrls(settings.env?.bosh) ?? [settings.mbus]);
    for (const text of servers) {
      const server = URL.canParse(text) ? new URL(text) : undefined;
      if (!server) continue;
      for (const each of await this.#resolve(server, port(server, 4222), 'message bus')) {
        if (!denied.some(({ ip, port: held }) => ip === each.ip && held === each.port)) denied.push(each);
      }
    }
    for (const destination of settings.iptables?.drop_output ?? []) {
      if (isIP(destination.split('/')[0] ?? '') !== 0) denied.push({ ip: destination, what: 'settings' });
      else
        this.#context.log.warn(
          { destination },
          'iptables.drop_output names something that is not an address.',
        );
    }
    return { denied, ...(mbus && isServer ? { agentPort: port(mbus, 443) } : {}) };
  }

  async #resolve(url: URL, port: number, what: string): Promise<readonly Destination[]> {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    if (isIP(host) !== 0) return [{ ip: host, port, what }];
    try {
      const addresses = await lookup(host, { all: true });
      return addresses
        .map(({ address }) => ({ ip: address, port, what }))
        .sort((a, b) => (a.ip < b.ip ? -1 : 1));
    } catch (error) {
      this.#context.log.warn(
        { host, reason: messageOf(error) },
        'The firewall has no rule for an unknown host.',
      );
      return [];
    }
  }

  async #probeNft(policy: FirewallPolicy, signal: AbortSignal): Promise<readonly Change[]> {
    const wanted = renderChains(policy);
    const listing = await this.#context.runner.run(['nft', 'list', 'table', 'inet', 'bosh_agent'], {
      signal,
      timeoutMs: 15_000,
      okExitCodes: [0, 1],
    });
    const held = parseChains(listing.stdout);
    const same =
      held.has('monit_access_jobs') &&
      [...wanted].every(([name, lines]) => held.get(name)?.join('\n') === lines.join('\n'));
    if (same) return [];
    return [
      {
        what: 'load the rules with nft',
        apply: async () => {
          await this.#context.runner.run(['nft', '-f', '-'], { stdin: renderTransaction(wanted), signal });
        },
      },
    ];
  }

  async #probeIptables(policy: FirewallPolicy, signal: AbortSignal): Promise<readonly Change[]> {
    const changes = await Promise.all([
      this.#probeFamily('iptables', renderIptables(policy, 4), signal),
      this.#probeFamily('ip6tables', renderIptables(policy, 6), signal),
    ]);
    return changes.flat();
  }

  async #probeFamily(
    tool: 'iptables' | 'ip6tables',
    rules: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly Change[]> {
    const { runner } = this.#context;
    const listing = await runner.run([tool, '-w', '-S'], { signal, timeoutMs: 15_000 });
    const lines = listing.stdout.split('\n');
    const held = lines.filter((line) => line.startsWith('-A agent-filter '));
    const jumps = lines.includes('-A OUTPUT -j agent-filter');
    if (jumps && held.join('\n') === rules.join('\n')) return [];
    if (rules.length === 0 && held.length === 0) return [];
    // One transaction: no moment without rules.
    const restore = [
      '*filter',
      ':agent-filter - [0:0]',
      ...rules,
      ...(jumps ? [] : ['-A OUTPUT -j agent-filter']),
      'COMMIT',
      '',
    ];
    return [
      {
        what: `load the rules with ${tool}`,
        apply: async () => {
          await runner.run([`${tool}-restore`, '-w', '--noflush'], { stdin: restore.join('\n'), signal });
        },
      },
    ];
  }
}
