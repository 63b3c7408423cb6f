import { errorCode } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { agentConnector } from '../access/agent-session.ts';
import { openRecordedAgent } from '../access/reach-agent.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { currentDisk, currentStemcell } from '../state/environment-state.ts';
import type { EnvironmentState } from '../state/environment-state.ts';
import { Journal } from '../state/journal.ts';
import { StateStore } from '../state/state-store.ts';

/** What is on record, and what the agent says. Changes nothing, needs neither variables nor the cloud. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const paths = environmentPaths(manifest, textOption(options, 'state'), context.cwd);
  const store = await StateStore.open(paths);
  const journal = await Journal.open(paths.journal);
  const report = await describe(store.current, store.existed, journal.openIntents.length > 0, context);
  if (context.global.json) context.console.json(report);
  else context.console.block(asText(report));
  return exitCodes.done;
}

async function describe(
  state: EnvironmentState,
  existed: boolean,
  interrupted: boolean,
  context: Pick<CommandContext, 'signal' | 'env'>,
): Promise<JsonObject> {
  const { own } = state;
  const disk = currentDisk(state);
  const stemcell = currentStemcell(state);
  const agent = state.current_vm_cid === '' ? undefined : await askAgent(state, context);
  return {
    status: statusOf(state, existed, agent?.jobState),
    deployment: own.deployment ?? null,
    instance: own.group === undefined ? null : `${own.group}/0`,
    vm: state.current_vm_cid === '' ? null : { cid: state.current_vm_cid, address: own.vm?.address ?? null },
    agent: agent === undefined ? null : agent.answer,
    disk: disk === undefined ? null : { cid: disk.cid, size_mib: disk.size },
    stemcell:
      stemcell === undefined ? null : { name: stemcell.name, version: stemcell.version, cid: stemcell.cid },
    releases: (state.releases ?? []).map(({ name, version }) => ({ name, version })),
    deployed_at: own.deployed_at ?? null,
    up_to_date: own.deployed !== undefined && !interrupted,
  };
}

function statusOf(state: EnvironmentState, existed: boolean, jobState: string | undefined): string {
  if (!existed) return 'absent';
  if (state.current_vm_cid === '') return 'no-vm';
  if (jobState === undefined) return 'unreachable';
  return state.own.stopped && jobState !== 'running' ? 'stopped' : jobState;
}

async function askAgent(
  state: EnvironmentState,
  { signal, env }: Pick<CommandContext, 'signal' | 'env'>,
): Promise<{ readonly jobState: string | undefined; readonly answer: string }> {
  if (state.own.endpoint === undefined)
    return { jobState: undefined, answer: 'its address is not on record' };
  const agent = await openRecordedAgent(state, agentConnector(env));
  try {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(10_000)]);
    await agent.ping(limited);
    const { jobState } = await agent.getState(limited);
    return { jobState, answer: 'answers' };
  } catch (error) {
    signal.throwIfAborted();
    return {
      jobState: undefined,
      answer: errorCode(error) === undefined ? String(error) : agent.explain(error).text,
    };
  } finally {
    await agent.close();
  }
}

function asText(report: JsonObject): string {
  const lines = Object.entries(report).map(([key, value]) => {
    const shown = typeof value === 'string' ? value : value === null ? '-' : JSON.stringify(value);
    return `${key.replaceAll('_', ' ').padEnd(12)} ${shown}`;
  });
  return `${lines.join('\n')}\n`;
}
