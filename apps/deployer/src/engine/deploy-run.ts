import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '@microbosh/errors';
import type {
  ApplySpec,
  DeploymentModel,
  DiskRecord,
  SshTunnel as SshTunnelModel,
  TimeLimits,
} from '@microbosh/spec';
import type { EventBus } from '../events/event-bus.ts';
import type { ManifestProperties } from '../inputs/manifest-properties.ts';
import { limitedAgent } from '../access/limited-agent.ts';
import type { RegistryWitness } from '../access/registry-witness.ts';
import { SshTunnel } from '../access/ssh-tunnel.ts';
import type { ProxyRoute } from '../access/proxy-route.ts';
import type { AgentConnector, AgentSession } from '../ports/agent.ts';
import type { CompiledPackages, InstanceContent, OpenedStemcell } from '../ports/instance-content.ts';
import type { AgentEndpoint, EnvironmentState, VmRecord } from '../state/environment-state.ts';
import { currentDisk } from '../state/environment-state.ts';
import type { StateChange, StateStore } from '../state/state-store.ts';
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
  /** For one call of the CPI, and for one task of the agent by its kind. */
  readonly cpiMs: number;
  readonly taskMs: number;
  readonly drainMs: number;
  readonly compileMs: number;
  /** For a migration, and for a blob on its way. */
  readonly copyMs: number;
  /** How long a disk is kept whose content was moved to another. */
  readonly oldDiskMs: number;
}

export const defaultLimits: Limits = {
  agentMs: 600_000,
  knownAgentMs: 10_000,
  pollMs: 500,
  watchMinMs: 0,
  watchMaxMs: 300_000,
  cpiMs: 3_600_000,
  taskMs: 3_600_000,
  drainMs: 3_600_000,
  compileMs: 6 * 3_600_000,
  copyMs: 24 * 3_600_000,
  oldDiskMs: 24 * 3_600_000,
};

/** `limits` of the manifest and `--limit` of the command line, the latter stronger. */
export function limitsOf(defaults: Limits, ...changes: readonly (TimeLimits | undefined)[]): Limits {
  return Object.assign({ ...defaults }, ...changes) as Limits;
}

/** Everything that the steps of a deploy need, prepared and checked before the first of them runs. */
export interface DeployInputs {
  readonly model: DeploymentModel;
  readonly stemcell: OpenedStemcell;
  readonly content: InstanceContent;
  /** As found inside the tarballs. */
  readonly releases: readonly { readonly name: string; readonly version: string }[];
  readonly vmFingerprint: string;
  /** What the manifest sets. */
  readonly properties: ManifestProperties;
  /** See `DesiredEnvironment.applied`. */
  readonly applied: string;
  /** `env` of create_vm, complete. */
  readonly env: JsonObject;
  /** Address of the instance as the manifest gives it; empty: the cloud chooses it. */
  readonly address: string;
  readonly endpoint: AgentEndpoint;
}

export interface DeployRunOptions {
  readonly inputs: DeployInputs | undefined;
  readonly effects: Effects;
  readonly events: EventBus;
  readonly connectAgent: AgentConnector;
  readonly route?: ProxyRoute | undefined;
  readonly compiledPackages: CompiledPackages;
  readonly limits: Limits;
  readonly group: string;
  readonly skipDrain: boolean;
  readonly registryWitness?: RegistryWitness;
  /** The way from the VM to the registry of this process. */
  readonly tunnel?: SshTunnelModel & { readonly registryPort: number };
}

/** One run over a plan: what its steps share. */
export class DeployRun {
  readonly effects: Effects;
  readonly events: EventBus;
  readonly limits: Limits;
  readonly compiledPackages: CompiledPackages;
  readonly group: string;
  readonly skipDrain: boolean;
  /** What the registry saw of the VM; absent: there is none, or it cannot be asked. */
  readonly registryWitness: RegistryWitness | undefined;
  /** For what is brought to its end once it began. */
  readonly uninterrupted = new AbortController().signal;
  readonly #inputs: DeployInputs | undefined;
  /** The way to the VM and its services; undefined: directly. */
  readonly route: ProxyRoute | undefined;
  readonly #connectAgent: AgentConnector;
  readonly #tunnelTo: DeployRunOptions['tunnel'];
  #tunnel: { readonly vmCid: string; readonly ssh: SshTunnel } | undefined;
  #sessions = new Map<string, AgentSession>();
  /** Made by this run's step `create-disk`. */
  #newDisk: string | undefined;
  #before: StateChange | undefined;
  /** By this run. */
  readonly detachedDisks = new Set<string>();
  prepared: ApplySpec | undefined;
  /** Found out while a plan was carried out: disks are not resized here, so the rest has to be planned again. */
  mustCopy = false;

  constructor(options: DeployRunOptions) {
    this.#inputs = options.inputs;
    this.effects = options.effects;
    this.events = options.events;
    this.limits = options.limits;
    this.compiledPackages = options.compiledPackages;
    this.group = options.group;
    this.skipDrain = options.skipDrain;
    this.#connectAgent = options.connectAgent;
    this.route = options.route;
    this.#tunnelTo = options.tunnel;
    this.registryWitness = options.registryWitness;
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

  async updateVm(change: Partial<VmRecord> | ((vm: VmRecord) => Partial<VmRecord>)): Promise<void> {
    await this.store.update(() => {
      const { vm } = this;
      return { own: { vm: { ...vm, ...(typeof change === 'function' ? change(vm) : change) } } };
    });
  }

  /** A VM that create-env made has no record of ours. */
  async updateVmIfKnown(change: Partial<VmRecord>): Promise<void> {
    if (this.state.own.vm !== undefined) await this.updateVm(change);
  }

  /** The agent of the VM that serves now: at the endpoint that it was made with. */
  async agent(): Promise<AgentSession> {
    return this.agentAt(this.state.current_vm_cid, this.state.own.endpoint);
  }

  async agentAt(vmCid: string, known: AgentEndpoint | undefined): Promise<AgentSession> {
    const endpoint = known ?? this.inputs.endpoint;
    const key = `${vmCid} ${endpoint.mbus} ${endpoint.ca}`;
    let session = this.#sessions.get(key);
    if (session === undefined) {
      const opened = await this.#connectAgent({
        mbus: endpoint.mbus,
        ca: endpoint.ca === '' ? undefined : endpoint.ca,
        ...(endpoint.server_name === undefined ? {} : { serverName: endpoint.server_name }),
        directorUuid: this.state.director_id,
      });
      session = limitedAgent(opened, this.limits, this.events);
      this.#sessions.set(key, session);
    }
    return session;
  }

  /**
   * Opens the tunnel to the VM that is the current one now, when the manifest asks for one. It is there whenever the
   * agent may read its settings: for a new VM, and when disks come and go.
   */
  async openTunnel(): Promise<void> {
    const to = this.#tunnelTo;
    const { vm } = this.state.own;
    if (to === undefined || vm === undefined || this.#tunnel?.vmCid === vm.cid) return;
    await this.#tunnel?.ssh.close();
    const host = to.host === '' ? vm.address : to.host;
    const ssh = new SshTunnel({
      host,
      port: to.port,
      user: to.user,
      route: this.route,
      ...(to.password === undefined ? {} : { password: to.password }),
      ...(to.privateKey === undefined ? {} : { privateKey: to.privateKey }),
      remotePort: to.registryPort,
      localPort: to.registryPort,
      ...(vm.ssh_host_key === undefined ? {} : { hostKey: vm.ssh_host_key }),
      recordHostKey: async (key) => {
        if (this.state.own.vm?.cid === vm.cid) await this.updateVm({ ssh_host_key: key });
      },
      onState: ({ kind, text }) =>
        this.events.message(`SSH tunnel to VM '${vm.cid}': ${text}`, {
          level: kind === 'hopeless' ? 'warning' : 'info',
          details: { tunnel: kind },
        }),
    });
    this.#tunnel = { vmCid: vm.cid, ssh };
    ssh.start();
  }

  /** Why the VM cannot reach the registry, when that is certain. */
  get tunnelTrouble(): string | undefined {
    const state = this.#tunnel?.ssh.state;
    return state?.kind === 'hopeless' ? state.text : undefined;
  }

  async close(): Promise<void> {
    await this.#tunnel?.ssh.close();
    for (const session of this.#sessions.values()) await session.close();
    this.#sessions.clear();
  }

  /** Called when a deploy begins to change what is deployed; the second time in a run it is changed already. */
  rememberDeployment(): void {
    if (this.#before !== undefined) return;
    const { current_manifest_sha, releases, current_release_ids, own } = this.state;
    this.#before = {
      current_manifest_sha,
      releases,
      current_release_ids,
      own: { applied: own.applied, deployed: own.deployed },
    };
  }

  /** The record of what was deployed before this run; empty when an earlier run had begun to change it. */
  deploymentBefore(): StateChange {
    return this.#before ?? {};
  }

  get madeDisk(): string | undefined {
    return this.#newDisk;
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
