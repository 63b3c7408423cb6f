import { FirewallSetup } from '../../network/firewall-setup.ts';
import { converge, skipped, type BootstrapStep, type StepContext, type StepResult } from '../step.ts';

/** Keeps users of the machine, other than root, off the registry, the message bus, the metadata service and monit. */
export const firewall: BootstrapStep = {
  name: 'firewall',
  timeoutMs: 60_000,
  run: setUpFirewall,
};

export async function setUpFirewall(context: StepContext): Promise<StepResult> {
  const setup = await FirewallSetup.detect(context);
  if (setup === undefined) return skipped('this machine has neither nft nor iptables');
  return converge(context, () => setup.probe(context.signal));
}
