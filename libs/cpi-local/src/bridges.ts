import { CloudError } from '@microbosh/cpi';
import { isJsonObject, type Json } from '@microbosh/errors';
import {
  CommandFailed,
  formatSubnet,
  parseSubnet,
  subnetsOverlap,
  type CommandRunner,
} from '@microbosh/host';
import type { BridgePlan, InterfacePlan } from './network-plan.ts';

interface Route {
  readonly destination: string;
  readonly device: string;
}

/** The host's side of the VMs' networks. Everything we make carries an alias that names our root directory. */
export class Bridges {
  readonly #runner: CommandRunner;
  readonly #alias: string;

  constructor(runner: CommandRunner, rootDir: string) {
    this.#runner = runner;
    this.#alias = `microbosh ${rootDir}`;
  }

  /** Makes the bridge with its address, or completes it. Refuses a subnet that this host already routes elsewhere. */
  async ensure(bridge: BridgePlan): Promise<void> {
    await this.#assertSubnetFree(bridge);
    if ((await this.#aliasOf(bridge.name)) === undefined) {
      await this.#ip(['link', 'add', bridge.name, 'type', 'bridge']);
    }
    await this.#ip(['link', 'set', bridge.name, 'alias', this.#alias]);
    await this.#ip(['address', 'replace', `${bridge.address}/${bridge.prefix}`, 'dev', bridge.name]);
    await this.#ip(['link', 'set', bridge.name, 'up']);
  }

  /** Removes a bridge of ours; absent or someone else's is left. */
  async remove(name: string): Promise<void> {
    await this.#removeLink(name);
  }

  /** Puts a network card into the network namespace of the process, replacing what an earlier attempt left. */
  async plug(card: InterfacePlan, pid: number): Promise<void> {
    await this.#removeLink(card.hostName);
    await this.#ip([
      ...['link', 'add', card.hostName, 'type', 'veth'],
      ...['peer', 'name', card.guestName, 'address', card.mac, 'netns', String(pid)],
    ]);
    await this.#ip(['link', 'set', card.hostName, 'alias', this.#alias]);
    await this.#ip(['link', 'set', card.hostName, 'master', card.bridge.name, 'up']);
  }

  async unplug(card: InterfacePlan): Promise<void> {
    await this.#removeLink(card.hostName);
  }

  /** '' for a device without an alias, undefined when there is no such device. */
  async #aliasOf(name: string): Promise<string | undefined> {
    try {
      const [link] = parseList(await this.#ip(['-json', 'link', 'show', 'dev', name]));
      const alias = isJsonObject(link) ? link['ifalias'] : undefined;
      return typeof alias === 'string' ? alias : '';
    } catch (error) {
      if (
        error instanceof CommandFailed &&
        /does not exist|No such device|Cannot find device/.test(error.stderr)
      )
        return undefined;
      throw error;
    }
  }

  async #removeLink(name: string): Promise<void> {
    const alias = await this.#aliasOf(name);
    // A call that was killed between "add" and "alias" leaves no alias; the name holds a hash that only we compute.
    if (alias === undefined || (alias !== '' && alias !== this.#alias)) return;
    try {
      await this.#ip(['link', 'delete', name]);
    } catch (error) {
      // A veth goes by itself when the other end's namespace ends.
      if ((await this.#aliasOf(name)) !== undefined) throw error;
    }
  }

  async #assertSubnetFree(bridge: BridgePlan): Promise<void> {
    const subnet = parseSubnet(bridge.subnet);
    for (const { destination, device } of await this.#routes()) {
      const routed = parseSubnet(destination);
      if (subnet === undefined || routed === undefined || device === bridge.name) continue;
      if (subnetsOverlap(subnet, routed)) {
        throw new CloudError(
          `This machine already routes ${formatSubnet(routed)} through ${device}, so ${bridge.subnet} cannot be the VM's subnet`,
          { advice: 'Choose another subnet in the networks section of the manifest.' },
        );
      }
    }
  }

  async #routes(): Promise<Route[]> {
    const routes: Route[] = [];
    for (const route of parseList(await this.#ip(['-4', '-json', 'route', 'show', 'table', 'all']))) {
      if (!isJsonObject(route)) continue;
      const { dst, dev, type } = route;
      if (typeof dst !== 'string' || typeof dev !== 'string' || dst === 'default') continue;
      if (type === 'broadcast' || type === 'multicast') continue;
      routes.push({ destination: dst, device: dev });
    }
    return routes;
  }

  async #ip(args: readonly string[]): Promise<string> {
    return (await this.#runner.run(['ip', ...args], { timeoutMs: 20_000 })).stdout;
  }
}

function parseList(text: string): readonly Json[] {
  const value = JSON.parse(text === '' ? '[]' : text) as Json;
  return Array.isArray(value) ? (value as readonly Json[]) : [];
}
