import { resolve } from 'node:path';
import { proxyRoute } from '../access/proxy-route.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import type { Step } from '../engine/plan.ts';
import type { PropertyChange } from '../inputs/manifest-properties.ts';
import { pathsOf } from '../environment.ts';
import { evaluateInputs, readInputFlags } from '../inputs/manifest-inputs.ts';
import { isUnchanged, withRememberedStemcell } from '../inputs/unchanged.ts';

/** What create-env would do, without doing it. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const paths = pathsOf(manifest, textOption(options, 'state'), context);
  const inputs = await withRememberedStemcell(readInputFlags(options, context.cwd), paths);
  const evaluated = await evaluateInputs(manifest, inputs, context);
  const flags = {
    recreate: flagOption(options, 'recreate'),
    recreateDisk: flagOption(options, 'recreatePersistentDisks'),
  };
  const out = textOption(options, 'out');
  // The answer that create-env would give. A plan that is kept says what was observed, so it has to look.
  const isKept = out !== undefined || context.global.json;
  const forced = flags.recreate || flags.recreateDisk;
  if (!isKept && !forced && (await isUnchanged(paths, evaluated.manifestSha, proxyRoute(context.env)))) {
    context.console.block(describePlan([]));
    return exitCodes.done;
  }
  // Everything below is loaded only when there is something to find out.
  const { planEnv } = await import('../engine/plan-env.ts');
  const { composeDeployer } = await import('../compose-deployer.ts');
  const { plainJson } = await import('../state/state-document.ts');
  const plan = await planEnv({
    context,
    manifest,
    paths,
    inputs,
    evaluated,
    flags: { ...flags, skipDrain: false, registry: 'unsaid' },
    dependencies: composeDeployer(context),
  });
  if (out !== undefined) {
    const { writeFileDurably } = await import('@microbosh/host');
    const document = { manifest: resolve(context.cwd, manifest), state: paths.state, inputs, flags, ...plan };
    await writeFileDurably(resolve(context.cwd, out), JSON.stringify(document, null, 2));
  }
  if (context.global.json) context.console.json({ type: 'plan', ...plainJson(plan) });
  else context.console.block(describePlan(plan.steps, plan.changes));
  const pending = plan.steps.length > 0 && flagOption(options, 'detailedExitcode');
  return pending ? exitCodes.changesPending : exitCodes.done;
}

function describePlan(steps: readonly Step[], changes: readonly PropertyChange[] = []): string {
  if (steps.length === 0) return '\nNothing to do.\n';
  const lines = steps.map((step, index) => `${String(index + 1).padStart(3)}. ${describeStep(step)}\n`);
  return `\nSteps of the next deploy:\n${lines.join('')}${describeChanges(changes)}`;
}

/** Paths only: the values may be secret. */
function describeChanges(changes: readonly PropertyChange[]): string {
  if (changes.length === 0) return '';
  const lines = changes.map(({ path, change }) => `${change.padStart(9)}  ${path}\n`);
  return `\nIn the manifest since the last deploy:\n${lines.join('')}`;
}

function describeStep(step: Step): string {
  const { kind, ...details } = step;
  const shown = Object.entries(details).map(([key, value]) =>
    key === 'reason'
      ? `because ${String(value)}`
      : `${key} ${typeof value === 'object' ? JSON.stringify(value) : value}`,
  );
  return [kind.replaceAll('-', ' '), ...shown].join(', ');
}
