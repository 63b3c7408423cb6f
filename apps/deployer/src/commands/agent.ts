import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { formatBootstrapReport, methods } from '@microbosh/agent-protocol';
import type { MethodName } from '@microbosh/agent-protocol';
import { OperationalError, messageOf } from '@microbosh/errors';
import type { Json } from '@microbosh/errors';
import { parseYaml, toJson } from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { openRecorded } from './recorded-environment.ts';

/** The command line does not name a method of the agents' protocol, or gives it arguments of another form. */
export class AgentCallInvalid extends OperationalError {
  readonly code = 'E_AGENT_CALL_INVALID';
}

/** `bootstrap-report` is for people; everything else is a method. */
const reportCommand = 'bootstrap-report';

/** One call to the agent, followed to its end; the value is printed as JSON. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [, method = '', ...rest] = args;
  if (method === reportCommand) return printBootstrapReport(context, args, options);
  if (!isMethod(method)) {
    throw new AgentCallInvalid(`There is no agent method '${method}'`, {
      advice: `There are: ${reportCommand}, ${Object.keys(methods).join(', ')}.`,
    });
  }
  const { client } = await openRecorded(context, args, options);
  try {
    const values = await Promise.all(rest.map((text) => parseArgument(text, context.cwd)));
    const value: unknown = await client.call(method, values as never, { signal: context.signal });
    context.console.block(`${JSON.stringify(value, null, 2)}\n`);
  } finally {
    await client.close();
  }
  return exitCodes.done;
}

async function printBootstrapReport(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const { client } = await openRecorded(context, args, options);
  try {
    const report = await client.call('get_bootstrap_report', [], { signal: context.signal });
    if (context.global.json) context.console.json(report);
    else context.console.block(formatBootstrapReport(report));
  } finally {
    await client.close();
  }
  return exitCodes.done;
}

function isMethod(name: string): name is MethodName {
  return Object.hasOwn(methods, name);
}

/** `@FILE` is the document in that file; JSON where it is JSON, otherwise the text itself. */
async function parseArgument(text: string, cwd: string): Promise<Json> {
  if (text.startsWith('@')) {
    const file = resolve(cwd, text.slice(1));
    const content = await readFile(file, 'utf8').catch((error: unknown) => {
      throw new AgentCallInvalid(`The argument '${text}' cannot be read: ${messageOf(error)}`, {
        details: { path: file },
        cause: error,
      });
    });
    return toJson(parseYaml(content, { file }));
  }
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}
