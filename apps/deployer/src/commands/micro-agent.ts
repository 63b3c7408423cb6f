import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { selectedDeployment } from '../micro/micro-deployment.ts';
import { run as callAgent } from './agent.ts';

/** `agent` on the selected manifest; `state` is what the original calls `get_state`. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const { manifest } = await selectedDeployment(context, options);
  const [method = '', ...rest] = args;
  return callAgent(context, [manifest, method === 'state' ? 'get_state' : method, ...rest], {});
}
