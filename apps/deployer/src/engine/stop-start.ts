import { limitedAgent } from '../access/limited-agent.ts';
import { openRecordedAgent, reachAgent } from '../access/reach-agent.ts';
import type { CommandContext } from '../cli/context.ts';
import { Environment } from '../environment.ts';
import { InstanceNotRunning } from '../errors.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import { setTimeout as sleep } from 'node:timers/promises';

export interface StopStartRequest {
  readonly context: CommandContext;
  readonly paths: EnvironmentPaths;
  readonly skipDrain: boolean;
  readonly dependencies: Pick<DeployerDependencies, 'connectAgent' | 'limits'>;
}

/** Stops the jobs; the VM stays. The state remembers it, so that a stopped service is not taken for a broken one. */
export async function stopEnv(request: StopStartRequest): Promise<void> {
  const { context } = request;
  await withAgent(request, 'stop-env', async ({ agent, environment, vmCid, instance, signal }) => {
    await context.events.stage('stopping deployment', async (stage) => {
      await stage.step(`Waiting for the agent on VM '${vmCid}'`, (step) =>
        reachAgent(agent, vmCid, step, context.signal),
      );
      await environment.store.update({ own: { stopped: true } });
      await stage.step(`Running the pre-stop scripts '${instance}'`, () =>
        agent.runScript('pre-stop', signal),
      );
      if (!request.skipDrain) {
        await stage.step(`Draining jobs on instance '${instance}'`, () => agent.drain(signal));
      }
      await stage.step(`Stopping jobs on instance '${instance}'`, () => agent.stop(signal));
      await stage.step(`Running the post-stop scripts '${instance}'`, () =>
        agent.runScript('post-stop', signal),
      );
    });
  });
}

/** Starts the jobs that were stopped, and waits until they run. */
export async function startEnv(request: StopStartRequest): Promise<void> {
  const { context, dependencies } = request;
  await withAgent(request, 'start-env', async ({ agent, environment, vmCid, instance, signal }) => {
    await context.events.stage('starting deployment', async (stage) => {
      await stage.step(`Waiting for the agent on VM '${vmCid}'`, (step) =>
        reachAgent(agent, vmCid, step, context.signal),
      );
      await stage.step(`Running the pre-start scripts '${instance}'`, () =>
        agent.runScript('pre-start', signal),
      );
      await stage.step(`Starting the agent '${instance}'`, () => agent.start(signal));
      await environment.store.update({ own: { stopped: false } });
      await stage.step(`Waiting for instance '${instance}' to be running`, async (step) => {
        const deadline = Date.now() + dependencies.limits.watchMaxMs;
        for (;;) {
          const { jobState } = await agent.getState(context.signal);
          if (jobState === 'running') return;
          step.progress({ message: `the jobs are '${jobState}'` });
          if (Date.now() >= deadline) {
            throw new InstanceNotRunning(`Received non-running job state: '${jobState}'`, {
              details: { jobState },
              advice: 'Look at the logs of the jobs: microbosh logs MANIFEST',
            });
          }
          await sleep(1_000, undefined, { signal: context.signal });
        }
      });
      await stage.step(`Running the post-start scripts '${instance}'`, () =>
        agent.runScript('post-start', signal),
      );
    });
  });
}

async function withAgent(
  request: StopStartRequest,
  command: string,
  body: (scope: {
    readonly agent: Awaited<ReturnType<typeof openRecordedAgent>>;
    readonly environment: Environment;
    readonly vmCid: string;
    readonly instance: string;
    /** For what is brought to its end once it began. */
    readonly signal: AbortSignal;
  }) => Promise<void>,
): Promise<void> {
  const environment = await Environment.open(request.paths, command, request.context);
  try {
    const { current } = environment.store;
    const { connectAgent, limits } = request.dependencies;
    const agent = limitedAgent(
      await openRecordedAgent(current, connectAgent),
      limits,
      request.context.events,
    );
    try {
      await body({
        agent,
        environment,
        vmCid: current.current_vm_cid,
        instance: `${current.own.group ?? 'unknown'}/0`,
        signal: new AbortController().signal,
      });
    } finally {
      await agent.close();
    }
  } finally {
    await environment.close();
  }
}
