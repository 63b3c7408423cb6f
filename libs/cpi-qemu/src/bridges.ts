import { CommandFailed, type CommandRunner } from '@microbosh/host';
import { QemuHostUnfit } from './qemu-errors.ts';
import type { BridgePlan } from './network-plan.ts';

/**
 * Bridges in a network namespace of their own: bridged frames then never meet this machine's packet filter, and no
 * interface of this machine is touched but our end of one cable per subnet.
 */
export class Bridges {
  readonly #runner: CommandRunner;
  readonly #namespace: string;

  constructor(runner: CommandRunner, namespace: string) {
    this.#runner = runner;
    this.#namespace = namespace;
  }

  /** Puts `ip netns exec` before a command, so that it runs where the bridges are. */
  inside(argv: readonly [string, ...string[]]): [string, ...string[]] {
    return ['ip', 'netns', 'exec', this.#namespace, ...argv];
  }

  /** May run again at any time; an existing bridge is left as it is. */
  async ensure(bridge: BridgePlan): Promise<void> {
    if (!(await this.#namespaceExists())) await this.#ip('netns', 'add', this.#namespace);
    if (!(await this.#exists(this.#namespace, bridge.name))) {
      await this.#inNamespace('link', 'add', bridge.name, 'type', 'bridge', 'forward_delay', '0');
    }
    await this.#inNamespace('link', 'set', bridge.name, 'up');
    const peer = peerOf(bridge);
    if (!(await this.#exists(undefined, bridge.hostInterface))) {
      try {
        await this.#ip(
          ...[
            'link',
            'add',
            bridge.hostInterface,
            'type',
            'veth',
            'peer',
            'name',
            peer,
            'netns',
            this.#namespace,
          ],
        );
      } catch (error) {
        throw new QemuHostUnfit(`The network ${bridge.subnet} cannot be made`, {
          cause: error,
          advice: "Run as root, or set 'network: user' in the properties of the CPI.",
        });
      }
    }
    await this.#inNamespace('link', 'set', peer, 'master', bridge.name, 'up');
    await this.#ip('addr', 'replace', `${bridge.address}/${bridge.prefix}`, 'dev', bridge.hostInterface);
    await this.#ip('link', 'set', bridge.hostInterface, 'up');
  }

  async ensureTap(name: string, bridge: BridgePlan): Promise<void> {
    if (!(await this.#exists(this.#namespace, name))) {
      await this.#inNamespace('tuntap', 'add', name, 'mode', 'tap');
    }
    await this.#inNamespace('link', 'set', name, 'master', bridge.name, 'up');
  }

  async removeTap(name: string): Promise<void> {
    if ((await this.#namespaceExists()) && (await this.#exists(this.#namespace, name))) {
      await this.#inNamespace('link', 'del', name);
    }
  }

  async remove(bridge: BridgePlan): Promise<void> {
    if (await this.#exists(undefined, bridge.hostInterface))
      await this.#ip('link', 'del', bridge.hostInterface);
    if ((await this.#namespaceExists()) && (await this.#exists(this.#namespace, bridge.name))) {
      await this.#inNamespace('link', 'del', bridge.name);
    }
  }

  async removeNamespace(): Promise<void> {
    if (await this.#namespaceExists()) await this.#ip('netns', 'del', this.#namespace);
  }

  async #namespaceExists(): Promise<boolean> {
    const { stdout } = await this.#ip('-o', 'netns', 'list');
    return stdout.split('\n').some((line) => line.split(' ')[0] === this.#namespace);
  }

  async #exists(namespace: string | undefined, name: string): Promise<boolean> {
    try {
      await this.#ip(
        ...(namespace === undefined ? [] : ['-n', namespace]),
        '-o',
        'link',
        'show',
        'dev',
        name,
      );
      return true;
    } catch (error) {
      if (error instanceof CommandFailed && /does not exist/i.test(error.stderr)) return false;
      throw error;
    }
  }

  #inNamespace(...args: readonly string[]): Promise<{ readonly stdout: string }> {
    return this.#ip('-n', this.#namespace, ...args);
  }

  #ip(...args: readonly string[]): Promise<{ readonly stdout: string }> {
    return this.#runner.run(['ip', ...args]);
  }
}

function peerOf(bridge: BridgePlan): string {
  return bridge.hostInterface.replace(/^mqh/, 'mqp');
}
