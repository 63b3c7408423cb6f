import { Agent, request } from 'undici';
import { buildApplySpec, buildInitialApplySpec } from '@microbosh/spec';
import type { ReadinessCheck } from '@microbosh/spec';
import { messageChain } from '@microbosh/errors';
import { randomUUID } from 'node:crypto';
import { connectorOver } from '../../access/routed-connector.ts';
import { InstanceNotRunning, ServiceNotReady } from '../../errors.ts';
import type { StageScope, StepScope } from '../../events/event-bus.ts';
import type { AgentSession, ByteProgress, CompiledPackageRef } from '../../ports/agent.ts';
import type { InstancePackage } from '../../ports/instance-content.ts';
import type { DeployRun } from '../deploy-run.ts';
import { isGone } from '../effects.ts';

/** Puts everything that the apply spec will refer to onto the VM. The jobs may still run. */
export async function prepareInstance(
  run: DeployRun,
  initialApply: boolean,
  stage: StageScope,
): Promise<void> {
  const agent = await run.agent();
  const { inputs } = run;
  const { baked } = inputs.content;
  if (baked !== undefined) {
    run.prepared = await stage.step('Rendering job templates', () => baked.prepare(agent, run.uninterrupted));
    return;
  }
  if (initialApply) {
    await run.effects.change('agent:apply', { initial: true }, async () => {
      await agent.apply(buildInitialApplySpec(inputs.model), run.uninterrupted);
      await agent.getState(run.uninterrupted);
    });
  }
  const rendered = await stage.step('Rendering job templates', async (step) => {
    const templates = await inputs.content.render(run.vm.address);
    const archive = await agent.uploadBlob(templates.archivePath, run.uninterrupted, bytesOf(step));
    return { archive, jobs: templates.jobs };
  });
  const packages = await preparePackages(run, agent, stage);
  run.prepared = buildApplySpec(inputs.model, {
    networks: inputs.model.networks,
    templates: rendered.jobs,
    packages,
    renderedTemplates: rendered.archive,
  });
}

/** One package is sent while another is compiled. */
const packagesAtOnce = 2;

/** Each as soon as its dependencies are there, in the order of the list where there is a choice. */
async function preparePackages(
  run: DeployRun,
  agent: AgentSession,
  stage: StageScope,
): Promise<Record<string, CompiledPackageRef>> {
  const done = new Map<string, CompiledPackageRef>();
  const waiting = [...run.inputs.content.packages];
  const running = new Map<string, Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  while (waiting.length > 0 || running.size > 0) {
    if (failure === undefined && run.signal.aborted) waiting.length = 0;
    while (failure === undefined && running.size < packagesAtOnce) {
      const next = waiting.findIndex((pkg) => pkg.dependencies.every((name) => done.has(name)));
      const [pkg] = next < 0 ? [] : waiting.splice(next, 1);
      if (pkg === undefined) break;
      const one = async () => {
        try {
          done.set(pkg.name, await preparePackage(run, agent, pkg, done, stage));
        } catch (error) {
          failure ??= { error };
        } finally {
          running.delete(pkg.name);
        }
      };
      running.set(pkg.name, one());
    }
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  if (failure !== undefined) throw failure.error;
  run.effects.throwIfCancelled();
  const [stuck] = waiting;
  if (stuck !== undefined) throw new Error(`package '${stuck.name}' needs one that is not in the deployment`);
  return Object.fromEntries(
    run.inputs.content.packages.flatMap(({ name }) => {
      const ref = done.get(name);
      return ref === undefined ? [] : [[name, ref]];
    }),
  );
}

function bytesOf(step: StepScope): ByteProgress {
  return (done, total) => step.progress({ done, unit: 'bytes', ...(total === undefined ? {} : { total }) });
}

async function preparePackage(
  run: DeployRun,
  agent: AgentSession,
  pkg: InstancePackage,
  done: ReadonlyMap<string, CompiledPackageRef>,
  stage: StageScope,
): Promise<CompiledPackageRef> {
  const named = { name: pkg.name, version: pkg.fingerprint };
  return stage.step(`Compiling package '${pkg.name}/${pkg.fingerprint}'`, async (step) => {
    const onVm = run.vm.packages[pkg.key];
    if (onVm !== undefined) {
      step.skip('Package already compiled');
      return { ...named, ...onVm };
    }
    const ready = pkg.isCompiled ? await pkg.archive() : await run.compiledPackages.find(pkg.key);
    if (ready !== undefined) {
      step.skip('Package already compiled');
      step.progress({ message: 'uploading' });
      const blob = await agent.uploadBlob(ready.path, run.uninterrupted, bytesOf(step));
      return remember(run, pkg, { ...named, ...blob });
    }
    step.progress({ message: 'uploading' });
    const source = await pkg.archive();
    const blob = await agent.uploadBlob(source.path, run.uninterrupted, bytesOf(step));
    step.progress({ message: 'compiling' });
    const dependencies = Object.fromEntries(pkg.dependencies.map((name) => [name, dependency(done, name)]));
    const compiled = await agent.compilePackage(
      { ...named, blob: { blobstore_id: blob.blobstore_id, sha1: blob.sha1 } },
      dependencies,
      run.signal,
    );
    await run.compiledPackages
      .keep(pkg.key, compiled.sha1, (path) => agent.downloadBlob(compiled, path, run.uninterrupted))
      // A package that cannot be kept is compiled again on the next VM: slower, not wrong.
      .catch((error: unknown) =>
        run.events.message(
          `Package '${pkg.name}' could not be kept for later: ${messageChain(error).join(': ')}`,
          { level: 'warning' },
        ),
      );
    return remember(run, pkg, { ...named, ...compiled });
  });
}

async function remember(
  run: DeployRun,
  pkg: InstancePackage,
  ref: CompiledPackageRef,
): Promise<CompiledPackageRef> {
  const { blobstore_id, sha1 } = ref;
  await run.updateVm((vm) => ({ packages: { ...vm.packages, [pkg.key]: { blobstore_id, sha1 } } }));
  return ref;
}

function dependency(done: ReadonlyMap<string, CompiledPackageRef>, name: string): CompiledPackageRef {
  const found = done.get(name);
  if (found === undefined) throw new Error(`package '${name}' is needed before it is compiled`);
  return found;
}

export async function updateInstance(run: DeployRun, stage: StageScope): Promise<void> {
  const { prepared } = run;
  if (prepared === undefined) throw new Error('the instance was not prepared');
  const agent = await run.agent();
  await stage.step(`Updating instance '${run.group}/0'`, async () => {
    await run.effects.change('agent:apply', { digest: run.inputs.applied }, async () => {
      await agent.stop(run.uninterrupted);
      await agent.apply(prepared, run.uninterrupted);
      await agent.runScript('pre-start', run.uninterrupted);
      await agent.start(run.uninterrupted);
    });
    await run.store.update({ own: { applied: run.inputs.applied, stopped: false } });
  });
}

export async function waitUntilRunning(run: DeployRun, stage: StageScope): Promise<void> {
  const agent = await run.agent();
  await stage.step(`Waiting for instance '${run.group}/0' to be running`, async (step) => {
    await run.pause(run.limits.watchMinMs).catch(() => run.effects.throwIfCancelled());
    const deadline = Date.now() + run.limits.watchMaxMs - run.limits.watchMinMs;
    for (let pauseMs = 50; ; pauseMs = Math.min(1_000, pauseMs * 1.2)) {
      run.effects.throwIfCancelled();
      const { jobState } = await agent.getState(run.uninterrupted);
      if (jobState === 'running') return;
      step.progress({ message: `the jobs are '${jobState}'` });
      if (Date.now() >= deadline) {
        throw new InstanceNotRunning(`Received non-running job state: '${jobState}'`, {
          details: { jobState },
          advice: `Look at the logs of the jobs: microbosh logs MANIFEST. The time is update.update_watch_time of the manifest.`,
        });
      }
      await run.pause(pauseMs).catch(() => run.effects.throwIfCancelled());
    }
  });
}

export async function postStart(run: DeployRun, stage: StageScope): Promise<void> {
  const agent = await run.agent();
  await stage.step(`Running the post-start scripts '${run.group}/0'`, () =>
    agent.runScript('post-start', run.uninterrupted),
  );
}

/** For those who rely on the whole of it: after every check. */
export async function postDeploy(run: DeployRun, stage: StageScope): Promise<void> {
  const agent = await run.agent();
  await stage.step(`Running the post-deploy scripts '${run.group}/0'`, () =>
    agent.runScript('post-deploy', run.uninterrupted),
  );
}

export async function checkReadiness(run: DeployRun, url: string, stage: StageScope): Promise<void> {
  const check = run.inputs.model.readiness.find((candidate) => candidate.url === url);
  if (check === undefined) throw new Error(`no readiness check for '${url}'`);
  await stage.step(`Waiting for the service at '${url}'`, async (step) => {
    const connect = { timeout: 5_000, ...(check.ca === undefined ? {} : { ca: check.ca }) };
    const dispatcher = new Agent({ connect: connectorOver(run.route)?.(connect) ?? connect });
    const deadline = Date.now() + check.timeoutMs;
    let last = '';
    try {
      for (let pauseMs = 50; ; pauseMs = Math.min(250, pauseMs * 1.1)) {
        run.effects.throwIfCancelled();
        const answer = await probe(check, dispatcher, run);
        if (answer === undefined) return;
        if (answer !== last) step.progress({ message: answer });
        last = answer;
        if (Date.now() >= deadline) break;
        await run.pause(pauseMs).catch(() => run.effects.throwIfCancelled());
      }
    } finally {
      await dispatcher.close();
    }
    throw new ServiceNotReady(
      `The service at '${url}' is not ready after ${check.timeoutMs / 1000} s: ${last}`,
      {
        details: { url },
        advice:
          'The jobs run; look at their logs (microbosh logs MANIFEST) and at readiness in the manifest.',
      },
    );
  });
}

/** Undefined: ready. Otherwise what was seen. */
async function probe(check: ReadinessCheck, dispatcher: Agent, run: DeployRun): Promise<string | undefined> {
  try {
    await run.events.call('service', check.url, async () => {
      const response = await request(check.url, {
        dispatcher,
        headersTimeout: 10_000,
        bodyTimeout: 10_000,
        signal: run.signal,
      });
      await response.body.dump();
      if (response.statusCode === check.expectStatus) return;
      throw new Error(`it answers with HTTP status ${response.statusCode} instead of ${check.expectStatus}`);
    });
    return undefined;
  } catch (error) {
    return messageChain(error).join(': ') || 'it cannot be reached';
  }
}

/** Last write of a deploy that went through. */
export async function recordDeployment(run: DeployRun, deployed: string): Promise<void> {
  const releases = run.inputs.releases.map((release) => ({ id: randomUUID(), ...release, unknown: {} }));
  await run.store.update({
    current_manifest_sha: run.inputs.model.manifestSha,
    releases,
    current_release_ids: releases.map((release) => release.id),
    own: {
      deployed,
      properties: { ...run.inputs.properties },
      deployed_at: new Date().toISOString(),
      deployment: run.inputs.model.name,
      group: run.group,
    },
  });
}

export async function deleteStemcell(
  run: DeployRun,
  stemcellCid: string,
  wording: 'stemcell' | 'unused stemcell',
  scope: Pick<StageScope, 'step'>,
): Promise<void> {
  if (stemcellCid === '') throw new Error('a stemcell without CID is never deleted');
  const adopted = run.state.own.adopted_stemcells ?? [];
  const isAdopted = adopted.includes(stemcellCid);
  const title = `${isAdopted ? 'Preserving' : 'Deleting'} ${wording} '${stemcellCid}'`;
  await scope.step(title, async (step) => {
    if (isAdopted) step.skip('It was in the cloud before');
    else await deleteFromCloud(step);
    const record = run.state.stemcells?.find((stemcell) => stemcell.cid === stemcellCid);
    const digests = { ...run.state.own.stemcell_digests };
    delete digests[stemcellCid];
    await run.store.update({
      stemcells: (run.state.stemcells ?? []).filter((stemcell) => stemcell.cid !== stemcellCid),
      ...(record?.id === run.state.current_stemcell_id ? { current_stemcell_id: '' } : {}),
      own: {
        stemcell_digests: digests,
        ...(isAdopted ? { adopted_stemcells: adopted.filter((cid) => cid !== stemcellCid) } : {}),
      },
    });
  });

  async function deleteFromCloud(step: StepScope): Promise<void> {
    await run.effects.change('delete_stemcell', { stemcell_cid: stemcellCid }, async (context) => {
      try {
        await run.cloud.deleteStemcell(context, stemcellCid);
      } catch (error) {
        if (!isGone(error)) throw error;
        step.skip('Stemcell not found');
      }
    });
  }
}
