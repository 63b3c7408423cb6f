import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { isOperationalError, messageChain } from '@microbosh/errors';
import type { DeploymentModel } from '@microbosh/spec';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { failed, machineChecks, portCheck, providerChecks } from '../doctor/machine-checks.ts';
import type { Check } from '../doctor/machine-checks.ts';
import { settingsOf } from '../engine/deploy.ts';
import { loadModel } from '../inputs/load-model.ts';
import { evaluateInputs, hasInputFlags, readInputFlags } from '../inputs/manifest-inputs.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';

/** Looks whether this machine, and with `--manifest` the cloud, can do what a deploy will ask of them. Changes nothing. */
export async function run(
  context: CommandContext,
  _args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const manifest = textOption(options, 'manifest');
  const home = context.env['HOME'] ?? homedir();
  const checks = await machineChecks(context.env, [context.cwd, home, tmpdir()]);
  if (manifest !== undefined) checks.push(...(await manifestChecks(manifest, context, options)));
  if (context.global.json)
    context.console.json({ type: 'doctor', checks: checks.map((check) => ({ ...check })) });
  else context.console.block(checks.map(line).join(''));
  return checks.some(({ status }) => status === 'failed') ? exitCodes.error : exitCodes.done;
}

async function manifestChecks(
  manifest: string,
  context: CommandContext,
  options: CommandOptions,
): Promise<Check[]> {
  const store = await StateStore.open(environmentPaths(manifest, textOption(options, 'state'), context.cwd));
  const { own } = store.current;
  let model: DeploymentModel;
  try {
    const flags = readInputFlags(options, context.cwd);
    const inputs = hasInputFlags(flags) ? flags : (own.inputs ?? flags);
    const evaluated = await evaluateInputs(manifest, inputs, context);
    model = await loadModel(evaluated, manifest, context, { ...inputs, stemcellOptional: true });
  } catch (error) {
    return [finding('manifest', error)];
  }
  const checks: Check[] = [{ name: 'manifest', status: 'ok', message: `'${manifest}' is valid` }];
  for (const { url } of [...model.releases, model.stemcell]) {
    if (!url.startsWith('file:')) continue;
    const there = existsSync(new URL(url));
    checks.push(
      there
        ? { name: 'file', status: 'ok', message: url }
        : failed('file', `${url} does not exist`, 'Correct the url in the manifest, or build the file.'),
    );
  }
  if (own.registry !== undefined && own.registry.port !== 0) checks.push(await portCheck(own.registry.port));
  const { cloud } = model;
  if (cloud.kind === 'built-in') checks.push(...(await providerChecks(cloud.plugin, context.env)));
  try {
    checks.push(...(await cloudChecks(model, store, context)));
  } catch (error) {
    checks.push(finding('cloud', error));
  }
  return checks;
}

async function cloudChecks(
  model: DeploymentModel,
  store: StateStore,
  context: CommandContext,
): Promise<readonly Check[]> {
  const dependencies = composeDeployer(context);
  await dependencies.checkCloud(model.cloud);
  const access = { agent: settingsOf(model.cloud, ''), registry: undefined };
  const cloud = await dependencies.openCloud(model.cloud, access, store, context);
  try {
    const call = {
      directorUuid: store.current.director_id,
      requestId: `cpi-${randomUUID().slice(0, 8)}`,
      stemcellApiVersion: 1,
      signal: context.signal,
    };
    const { api_version: version } = await cloud.info(call);
    const answers: Check = { name: 'cpi', status: 'ok', message: `answers, with API version ${version}` };
    const needs = {
      vmCloudProperties: model.vm.cloudProperties,
      networks: model.networks,
      disk: model.persistentDisk ?? null,
    };
    return [answers, ...((await cloud.checkNeeds?.(call, needs)) ?? [])];
  } finally {
    await cloud.dispose?.();
  }
}

function finding(name: string, error: unknown): Check {
  if (!isOperationalError(error)) throw error;
  return failed(name, messageChain(error).join(': '), error.advice ?? 'Correct it and try again.');
}

function line({ name, status, message, advice }: Check): string {
  const mark = { ok: 'ok     ', warning: 'warning', failed: 'FAILED ' }[status];
  return `${mark} ${name}: ${message}\n${advice === undefined || status === 'ok' ? '' : `        ${advice}\n`}`;
}
