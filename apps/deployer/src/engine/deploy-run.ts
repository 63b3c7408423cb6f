import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '@microbosh/errors';
import type { ApplySpec, DeploymentModel, DiskRecord } from '@microbosh/spec';
import type { EventBus } from '../events/event-bus.ts';
import type { AgentConnector, AgentSession } from '../ports/agent.ts';
import type { CompiledPackages, InstanceContent, OpenedStemcell } from '../ports/instance-content.ts';
import type { AgentEndpoint, EnvironmentState, VmRecord } from '../state/environment-state.ts';
import { currentDisk } from '../state/environment-state.ts';
import type { StateStore } from '../state/state-store.ts';
import type { DiskReference } from './plan.ts';
import type { Cloud, Effects } from './effects.ts';

/** How long is waited for what. Milliseconds. */
export interface Limits {
  /** For the agent of a new VM, and after an attached disk. */
  readonly agentMs: number;
  /** For the agent of a VM that has answered before. */
  readonly knownAgentMs: number;
  readonly pollMs: number;
  readonly watchMinMs: number;
  readonly watchMaxMs: number;
}

export const defaultLimits: Limits = {
  agentMs: 600_000,
  knownAgentMs: 10_000,
  pollMs: 500,
  watchMinMs: 0,
  watchMaxMs: 300_000,
};

/** Everything that the steps of a deploy need, prepared and checked before the first of them runs. */
export interface DeployInputs {
  readonly model: DeploymentModel;
  readonly stemcell: OpenedStemcell;
  readonly content: InstanceContent;
  /** As found inside the tarballs. */
  readonly releases: readonly { readonly name: string; readonly version: string }[];
  readonly vmFingerprint: string;
  /** See `DesiredEnvironment.applied`. */
  readonly applied: string;
  /** `env` of create_vm, complete. */
  readonly env: JsonObject;
  /** Address of the instance as the networks give it. */
  readonly address: string;
  readonly endpoint: AgentEndpoint;
}

export interface DeployRunOptions {
  readonly inputs: DeployInputs | undefined;
  readonly effects: Effects;
  readonly events: EventBus;
  readonly connectAgent: AgentConnector;
  readonly compiledPackages: CompiledPackages;
  readonly limits: Limits;
  readonly group: string;
  readonly skipDrain: boolean;
}

/** One run over a plan: what its steps share. */
export class DeployRun {
  readonly effects: Effects;
  readonly events: EventBus;
  readonly limits: Limits;
  readonly compiledPackages: CompiledPackages;
  readonly group: string;
  readonly skipDrain: boolean;
  /** For what is brought to its end once it began. */
  readonly uninterrupted = new AbortController().signal;
  readonly #inputs: DeployInputs | undefined;
  readonly #connectAgent: AgentConnector;
  #sessions = new Map<string, AgentSession>();
  /** Made by this run's step `create-disk`. */
  #newDisk: string | undefined;
  /** By this run. */
  readonly detachedDisks = new Set<string>();
  prepared: ApplySpec | undefined;

  constructor(options: DeployRunOptions) {
    this.#inputs = options.inputs;
    this.effects = options.effects;
    this.events = options.events;
    this.limits = options.limits;
    this.compiledPackages = options.compiledPackages;
    this.group = options.group;
    this.skipDrain = options.skipDrain;
    this.#connectAgent = options.connectAgent;
  }

  get inputs(): DeployInputs {
    if (this.#inputs === undefined) throw new Error('this plan has no deployment');
    return this.#inputs;
  }

  get store(): StateStore {
    return this.effects.store;
  }

  get state(): EnvironmentState {
    return this.effects.store.current;
  }

  get cloud(): Cloud {
    return this.effects.cloud;
  }

  get signal(): AbortSignal {
    return this.effects.signal;
  }

  get vm(): VmRecord {
    const vm = this.state.own.vm;
    if (vm === undefined) throw new Error('no VM is on record');
    return vm;
  }

  async updateVm(change: Partial<VmRecord>): Promise<void> {
    await this.store.update({ own: { vm: { ...this.vm, ...change } } });
  }

  /** A VM that create-env made has no record of ours. */
  async updateVmIfKnown(change: Partial<VmRecord>): Promise<void> {
    if (this.state.own.vm !== undefined) await this.updateVm(change);
  }

  /** The agent of the VM that serves now: at the endpoint that it was made with. */
  async agent(): Promise<AgentSession> {
    const endpoint = this.state.own.endpoint ?? this.inputs.endpoint;
    const key = `${this.state.current_vm_cid} ${endpoint.mbus} ${endpoint.ca}`;
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = await this.#connectAgent({
        mbus: endpoint.mbus,
        ca: endpoint.ca === '' ? undefined : endpoint.ca,
        directorUuid: this.state.director_id,
      });
      this.#sessions.set(key, session);
    }
    return session;
  }

  async close(): Promise<void> {
    for (const session of this.#sessions.values()) await session.close();
    this.#sessions.clear();
  }

  set newDisk(cid: string) {
    this.#newDisk = cid;
  }

  diskCid(reference: DiskReference): string {
    if (reference !== 'new') return reference.cid;
    if (this.#newDisk === undefined) throw new Error('the plan attaches a disk that it did not make');
    return this.#newDisk;
  }

  diskRecord(cid: string): DiskRecord {
    const record = this.state.disks?.find((disk) => disk.cid === cid);
    if (record === undefined) throw new Error(`disk '${cid}' is not on record`);
    return record;
  }

  get currentDiskCid(): string | undefined {
    return currentDisk(this.state)?.cid;
  }

  async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.signal });
  }
}
