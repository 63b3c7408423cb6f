import { AgentClient } from '@microbosh/agent-client';
import { methods } from '@microbosh/agent-protocol';
import type { MethodName } from '@microbosh/agent-protocol';
import { OperationalError } from '@microbosh/errors';
import type { Json } from '@microbosh/errors';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { NoEnvironment } from '../errors.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';

/** The command line does not name a method of the agents' protocol, or gives it arguments of another form. */
export class AgentCallInvalid extends OperationalError {
  readonly code = 'E_AGENT_CALL_INVALID';
}

/** One call to the agent, followed to its end; the value is printed as JSON. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = '', method = '', ...rest] = args;
  if (!isMethod(method)) {
    throw new AgentCallInvalid(`There is no agent method '${method}'`, {
      advice: `There are: ${Object.keys(methods).join(', ')}.`,
    });
  }
  const { current } = await StateStore.open(
    environmentPaths(manifest, textOption(options, 'state'), context.cwd),
  );
  const { endpoint } = current.own;
  if (endpoint === undefined) {
    throw new NoEnvironment('No current deployment found', { advice: 'Deploy it first.' });
  }
  const client = new AgentClient({
    mbus: endpoint.mbus,
    replyTo: current.director_id,
    ...(endpoint.ca === '' ? {} : { ca: endpoint.ca }),
  });
  try {
    const values = rest.map(parseArgument);
    const value: unknown = await client.call(method, values as never, { signal: context.signal });
    context.console.block(`${JSON.stringify(value, null, 2)}\n`);
  } finally {
    await client.close();
  }
  return exitCodes.done;
}

function isMethod(name: string): name is MethodName {
  return Object.hasOwn(methods, name);
}

/** JSON where it is JSON, otherwise the text itself. */
function parseArgument(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}
