import { OperationalError } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { lstat, readlink, rename, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Change } from '../bootstrap/step.ts';
import type { AgentPaths } from '../platform/agent-paths.ts';
import { readTextIfPresent } from '../platform/files.ts';
import { hasUnit, isSystemdRunning } from '../platform/service-manager.ts';
import { wantFile } from '../platform/wanted-files.ts';
import { which } from '../platform/which.ts';
import type { Networks } from '../settings/settings-document.ts';
import { canonicalAddress } from './addresses.ts';
import { announceAddresses } from './announce.ts';
import { renderInterfacesFile } from './ifupdown-file.ts';
import { listInterfaces, parseDefaultRoutes, type NetworkInterface } from './interfaces.ts';
import { planNetworks, type NetworkPlan, type PlannedInterface } from './network-plan.ts';
import { networkdFileName, renderNetworkdFile } from './networkd-files.ts';
import { parseNameservers, renderResolverFile } from './resolver-file.ts';

export class NetworkNotUp extends OperationalError {
  readonly code = 'E_NETWORK_NOT_UP';
  override readonly retryable = true;
}

type Manager = 'networkd' | 'ifupdown' | 'iproute';

const resolverFile = '/etc/resolv.conf';
const resolvedDropIn = '/etc/systemd/resolved.conf.d/10-bosh.conf';
const networkdDirectory = '/etc/systemd/network';
const interfacesFile = '/etc/network/interfaces';

/** Gives the machine the addresses, routes and name servers of its settings, with what it has for that. */
export class NetworkSetup {
  readonly #runner: CommandRunner;
  readonly #paths: AgentPaths;
  #manager: Manager | undefined;
  /** Of the last probe. */
  #plan: NetworkPlan | undefined;

  constructor(runner: CommandRunner, paths: AgentPaths) {
    this.#runner = runner;
    this.#paths = paths;
  }

  /** What differs from the settings. */
  async probe(networks: Networks, signal: AbortSignal): Promise<readonly Change[]> {
    const nics = await listInterfaces(this.#runner, signal);
    const plan = planNetworks(networks, nics);
    this.#plan = plan;
    const changes = plan.interfaces.length === 0 ? [] : await this.#probeInterfaces(plan, nics, signal);
    // Name servers may come with the interface: they are looked at once it is as it should be.
    return changes.length > 0 ? changes : this.#probeNameservers(plan);
  }

  /** Tells the neighbours of the addresses that the last probe found or asked for; goes on in the background. */
  announce(): void {
    void announceAddresses(this.#runner, this.#plan?.interfaces ?? []);
  }

  /** Addresses that the interfaces have in fact, for networks that DHCP configures. */
  async observe(networks: Networks, signal: AbortSignal): Promise<readonly NetworkObservation[]> {
    const [nics, routes] = await Promise.all([
      listInterfaces(this.#runner, signal),
      this.#runner.run(['ip', '-json', 'route', 'show', 'default'], { timeoutMs: 10_000, signal }),
    ]);
    const gateways = parseDefaultRoutes(routes.stdout);
    const plan = planNetworks(networks, nics);
    return Object.entries(plan.interfaceOf).flatMap(([network, name]) => {
      const address = nics.find((nic) => nic.name === name)?.addresses[0];
      const gateway = gateways.find((route) => route.device === name)?.gateway;
      return address === undefined
        ? []
        : [{ network, ...address, ...(gateway === undefined ? {} : { gateway }) }];
    });
  }

  /** Before a metadata service can be asked: when no interface has an address, all of them ask for one by DHCP. */
  async ensureAnyAddress(signal?: AbortSignal): Promise<void> {
    const nics = await listInterfaces(this.#runner, signal);
    if (nics.some((nic) => nic.addresses.length > 0)) return;
    if ((await this.#detectManager()) !== 'networkd') return;
    const plans = nics.map((nic) => dhcpPlan(nic.name));
    const changes = await Promise.all(plans.map((plan) => this.#wantNetworkdFile(plan)));
    for (const change of changes.flat()) await change.apply();
    await this.#restartNetworkd(plans, signal);
    await this.#waitUntil(
      async () => (await listInterfaces(this.#runner, signal)).some((nic) => nic.addresses.length > 0),
      30_000,
      signal,
    );
  }

  async #detectManager(): Promise<Manager> {
    this.#manager ??= await this.#findManager();
    return this.#manager;
  }

  async #findManager(): Promise<Manager> {
    if ((await isSystemdRunning()) && (await hasUnit('systemd-networkd.service'))) return 'networkd';
    if ((await which('ifup')) !== undefined) return 'ifupdown';
    return 'iproute';
  }

  async #probeInterfaces(
    plan: NetworkPlan,
    nics: readonly NetworkInterface[],
    signal: AbortSignal,
  ): Promise<readonly Change[]> {
    const manager = await this.#detectManager();
    const files =
      manager === 'networkd'
        ? (await Promise.all(plan.interfaces.map((each) => this.#wantNetworkdFile(each)))).flat()
        : manager === 'ifupdown'
          ? await wantFile(interfacesFile, renderInterfacesFile(plan.interfaces), { mode: 0o644 })
          : [];
    const missing = plan.interfaces.filter((each) => !isUp(each, nics));
    if (files.length === 0 && missing.length === 0) return [];
    const names = plan.interfaces.map((each) => each.name).join(', ');
    return [
      ...files,
      {
        what: `configure ${names} with ${manager}`,
        apply: async () => {
          await this.#activate(manager, plan.interfaces, signal);
          await this.#waitUntil(
            async () => {
              const now = await listInterfaces(this.#runner, signal);
              return plan.interfaces.every((each) => isUp(each, now));
            },
            30_000,
            signal,
          );
        },
      },
    ];
  }

  #wantNetworkdFile(plan: PlannedInterface): Promise<readonly Change[]> {
    return wantFile(join(networkdDirectory, networkdFileName(plan.name)), renderNetworkdFile(plan), {
      mode: 0o644,
    });
  }

  async #activate(manager: Manager, plans: readonly PlannedInterface[], signal: AbortSignal): Promise<void> {
    switch (manager) {
      case 'networkd':
        return this.#restartNetworkd(plans, signal);
      case 'ifupdown':
        await this.#runner.run(['ifdown', '--force', ...plans.map((plan) => plan.name)], {
          signal,
          okExitCodes: [0, 1],
        });
        await this.#runner.run(['ifup', '--force', ...plans.map((plan) => plan.name)], { signal });
        return;
      case 'iproute':
        for (const plan of plans) await this.#configureDirectly(plan, signal);
    }
  }

  async #restartNetworkd(plans: readonly PlannedInterface[], signal: AbortSignal | undefined): Promise<void> {
    const options = { timeoutMs: 60_000, ...(signal ? { signal } : {}) };
    const hook = join(this.#paths.bin, 'restart_networking');
    if ((await readTextIfPresent(hook)) !== undefined) {
      await this.#runner.run([hook], options);
      return;
    }
    // Only the interfaces concerned: a restart of the whole service would drop the others for a moment.
    await this.#runner.run(['systemctl', 'start', 'systemd-networkd.service'], options);
    await this.#runner.run(['networkctl', 'reload'], options);
    await this.#runner.run(['networkctl', 'reconfigure', ...plans.map((plan) => plan.name)], options);
  }

  async #configureDirectly(plan: PlannedInterface, signal: AbortSignal): Promise<void> {
    await this.#runner.run(['ip', 'link', 'set', plan.name, 'up'], { signal });
    if (plan.method === 'dhcp') {
      const client = (await which('dhclient')) ?? (await which('udhcpc'));
      if (client === undefined) {
        throw new NetworkNotUp(
          `Network interface ${plan.name} needs DHCP, and this machine has no DHCP client.`,
          {
            advice: 'Use a stemcell with systemd-networkd, or a manual network.',
          },
        );
      }
      await this.#runner.run(client.endsWith('udhcpc') ? [client, '-i', plan.name] : [client, plan.name], {
        signal,
      });
    }
    for (const address of plan.addresses) {
      await this.#runner.run(
        [
          'ip',
          'address',
          'replace',
          `${address.ip}/${address.prefixLength}`,
          ...(address.broadcast === undefined ? [] : ['broadcast', address.broadcast]),
          'dev',
          plan.name,
          ...(address.label === undefined ? [] : ['label', address.label]),
        ],
        { signal },
      );
    }
    for (const gateway of plan.gateways) {
      await this.#runner.run(['ip', 'route', 'replace', 'default', 'via', gateway, 'dev', plan.name], {
        signal,
      });
    }
    for (const route of plan.routes) {
      await this.#runner.run(
        ['ip', 'route', 'replace', route.destination, 'via', route.gateway, 'dev', plan.name],
        {
          signal,
        },
      );
    }
  }

  async #probeNameservers(plan: NetworkPlan): Promise<readonly Change[]> {
    if (plan.dns.length === 0) return [];
    const link = await readlink(resolverFile).catch(() => undefined);
    if (link?.includes('systemd/resolve') === true) return this.#wantResolved(plan.dns);
    const current = (await readTextIfPresent(resolverFile)) ?? '';
    const held = parseNameservers(current);
    if (plan.dns.every((server) => held.includes(server))) return [];
    if ((await which('resolvconf')) !== undefined) return this.#wantResolvconf(plan.dns);
    return wantPlainFile(renderResolverFile(current, plan.dns));
  }

  async #wantResolved(servers: readonly string[]): Promise<readonly Change[]> {
    const file = await wantFile(resolvedDropIn, `[Resolve]\nDNS=${servers.join(' ')}\n`, { mode: 0o644 });
    if (file.length === 0) return [];
    return [
      ...file,
      {
        what: 'restart the resolver',
        apply: async () => {
          await this.#runner.run(['systemctl', 'restart', 'systemd-resolved.service']);
        },
      },
    ];
  }

  #wantResolvconf(servers: readonly string[]): readonly Change[] {
    return [
      {
        what: `set name servers ${servers.join(', ')} with resolvconf`,
        apply: async () => {
          const base = await wantFile('/etc/resolvconf/resolv.conf.d/base', renderResolverFile('', servers), {
            mode: 0o644,
          });
          for (const change of base) await change.apply();
          const temporary = `${resolverFile}.new`;
          await unlink(temporary).catch(() => undefined);
          await symlink('/run/resolvconf/resolv.conf', temporary);
          await rename(temporary, resolverFile);
          await this.#runner.run(['resolvconf', '-u']);
        },
      },
    ];
  }

  async #waitUntil(
    condition: () => Promise<boolean>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (!(await condition())) {
      if (performance.now() > endMs) {
        throw new NetworkNotUp(`The interfaces did not get their addresses within ${timeoutMs / 1000} s.`, {
          advice: 'Compare the networks in the settings with the network that the machine is attached to.',
        });
      }
      await sleep(100, undefined, signal ? { signal } : {});
    }
  }
}

export interface NetworkObservation {
  readonly network: string;
  readonly ip: string;
  readonly prefixLength: number;
  readonly gateway?: string;
}

/** A dangling link, as some images ship it, is replaced by the file. */
async function wantPlainFile(content: string): Promise<readonly Change[]> {
  const found = await lstat(resolverFile).catch(() => undefined);
  const changes = await wantFile(resolverFile, content, { mode: 0o644 });
  if (found?.isSymbolicLink() !== true) return changes;
  return changes.map((change) => ({
    what: change.what,
    apply: async () => {
      await unlink(resolverFile);
      await change.apply();
    },
  }));
}

function isUp(plan: PlannedInterface, nics: readonly NetworkInterface[]): boolean {
  const nic = nics.find((candidate) => candidate.name === plan.name);
  if (nic === undefined || !nic.up) return false;
  const held = nic.addresses.map((address) => `${canonicalAddress(address.ip)}/${address.prefixLength}`);
  if (plan.method === 'dhcp' && held.length === 0) return false;
  return plan.addresses.every((address) =>
    held.includes(`${canonicalAddress(address.ip)}/${address.prefixLength}`),
  );
}

function dhcpPlan(name: string): PlannedInterface {
  return {
    name,
    method: 'dhcp',
    addresses: [],
    gateways: [],
    dns: [],
    routes: [],
    ignoreDhcpRoutes: false,
    ipv6: false,
  };
}
