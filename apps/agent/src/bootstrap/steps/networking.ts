import { netmaskOf } from '../../network/addresses.ts';
import { isDhcp, isVip } from '../../network/network-plan.ts';
import { NetworkSetup } from '../../network/network-setup.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';
import { isIPv4 } from 'node:net';

export const networking: BootstrapStep = {
  name: 'networking',
  timeoutMs: 180_000,
  async run(context) {
    const { settings, signal } = context;
    const { networks } = settings.current();
    if (!Object.values(networks).some((network) => !isVip(network))) {
      return skipped('the settings name no network that this machine configures');
    }
    const setup = new NetworkSetup(context.runner, context.paths);
    const result = await converge(context, () => setup.probe(networks, signal));
    setup.announce();

    const dynamic = Object.entries(networks).filter(([, network]) => isDhcp(network));
    if (dynamic.length > 0) {
      const observed = await setup.observe(networks, signal);
      settings.resolveNetworks(
        Object.fromEntries(
          observed
            .filter(({ network }) => dynamic.some(([name]) => name === network))
            .map(({ network, ip, prefixLength, gateway }) => [
              network,
              {
                ip,
                ...(isIPv4(ip) ? { netmask: netmaskOf(prefixLength) } : {}),
                ...(gateway === undefined ? {} : { gateway }),
                resolved: true,
              },
            ]),
        ),
      );
    }
    return result;
  },
};
