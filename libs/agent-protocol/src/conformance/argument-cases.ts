import type { Json } from '@microbosh/errors';
import type { TSchema } from 'typebox';
import { isTask, methodDefinition, methods, type MethodName } from '../methods.ts';
import { expectException, type Case, type Effect } from './suite.ts';

/** A value that no decoder takes for this type; undefined where any value may pass. */
function wrongFor(schema: TSchema): Json | undefined {
  const { type } = schema as { readonly type?: string };
  if (type === 'string') return { not: 'a string' };
  if (type === 'object') return 'not an object';
  if (type === 'array') return 'not a list';
  if (type === 'integer') return 'not a number';
  return undefined;
}

/** Methods without required arguments would run if the agent did not look at them. */
const effectOfRunning: Partial<Record<MethodName, Effect>> = {
  start: 'destructive',
  stop: 'destructive',
  migrate_disk: 'destructive',
  run_errand: 'destructive',
  shutdown: 'power',
  prepare_network_change: 'restart',
  prepare_configure_networks: 'restart',
  configure_networks: 'restart',
};

/** What is wrong with the arguments of any method is said in the same words; a task says it when it is asked for. */
export const argumentCases: readonly Case[] = (Object.keys(methods) as MethodName[]).flatMap((method) => {
  const { parameters } = methodDefinition(method);
  const isLater = isTask(method, 0);
  const prefix = isLater ? 'Action Failed get_task: Task [0-9a-f-]+ result: ' : `Action Failed ${method}: `;
  const refuse = (title: string, args: Json, problem: string, effect: Effect): Case => ({
    method,
    title,
    effect,
    run: async ({ agent }) => {
      const answer = isLater ? await agent.task(method, args) : await agent.call(method, args);
      expectException(answer, new RegExp(`^${prefix}${problem}`));
    },
  });
  const cases: Case[] = [];
  const required = parameters.filter(({ optional }) => !optional).length;
  if (required > 0) {
    cases.push(
      refuse(
        'says how many arguments are missing',
        [],
        `Extracting method arguments from payload: Not enough arguments, expected ${required}, got 0`,
        'none',
      ),
    );
  }
  const [first] = parameters;
  const wrong = first === undefined ? undefined : wrongFor(first.schema);
  if (wrong !== undefined) {
    // Enough arguments, so that the type of the first one is what is wrong.
    const args = [wrong, ...Array.from({ length: Math.max(0, required - 1) }, () => 'x')];
    cases.push(
      refuse(
        'says that an argument has the wrong type',
        args,
        'Extracting method arguments from payload: Unmarshalling action argument: ',
        effectOfRunning[method] ?? 'none',
      ),
    );
  }
  cases.push(
    refuse(
      'says that the arguments are no list',
      { a: 1 },
      'Extracting json arguments: Unmarshalling payload arguments to interface\\{\\} types: ',
      effectOfRunning[method] ?? 'none',
    ),
  );
  return cases;
});
