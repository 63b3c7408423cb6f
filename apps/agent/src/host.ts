import { isJsonObject, type Json } from '@microbosh/errors';
import { NodeCommandRunner, type CommandRunner } from '@microbosh/host';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BootstrapRunner, type BootstrapEvent } from './bootstrap/bootstrap-runner.ts';
import { wantAuthorizedKeys } from './bootstrap/steps/authorized-keys.ts';
import { dataDisk, swap } from './bootstrap/steps/data-disk.ts';
import { firewall, setUpFirewall } from './bootstrap/steps/firewall.ts';
import { bootstrapSteps } from './bootstrap/steps/index.ts';
import { persistentDisk } from './bootstrap/steps/persistent-disk.ts';
import { rawEphemeralDisks } from './bootstrap/steps/raw-ephemeral-disks.ts';
import { rootDisk } from './bootstrap/steps/root-disk.ts';
import type { AgentConfig } from './config/agent-config.ts';
import type { SupervisorKind } from './config/command-line.ts';
import { DataDisk } from './disks/data-disk.ts';
import { DeviceResolver, type ResolverTimes } from './disks/device-resolver.ts';
import { DiskPreparer } from './disks/disk-preparer.ts';
import { FormatIntents } from './disks/format-intents.ts';
import { LinuxPersistentDisks } from './disks/persistent-disks.ts';
import { NetworkSetup } from './network/network-setup.ts';
import { accountOf } from './platform/accounts.ts';
import { agentPaths, type AgentPaths } from './platform/agent-paths.ts';
import { LinuxMachine } from './platform/linux-machine.ts';
import type { HostContext } from './platform/host-context.ts';
import type { HostLog } from './platform/host-log.ts';
import { wantLink } from './platform/wanted-files.ts';
import type { AgentHost } from './ports/host.ts';
import { stringOf } from './settings/json-keys.ts';
import { SettingsLoader } from './settings/settings-loader.ts';
import { AgentSettingsService } from './settings/settings-service.ts';
import { createSource } from './settings/sources/create-source.ts';
import { installTrustedCertificates } from './settings/trusted-certificates.ts';
import type { UpdateSettings } from './settings/update-settings.ts';

export interface HostOptions {
  readonly config: AgentConfig;
  /** B, `/var/vcap`. */
  readonly baseDir: string;
  readonly supervisor: SupervisorKind;
  readonly log: HostLog;
  /** Default: real programs. */
  readonly runner?: CommandRunner;
  readonly onBootstrapEvent?: (event: BootstrapEvent) => void | Promise<void>;
  /** How long a disk may take to appear. */
  readonly resolverTimes?: ResolverTimes;
  /** How often an unmount is tried while files are open. */
  readonly unmountAttempts?: number;
}

/** The machine, as the agent uses it. Nothing is touched before `bootstrap.run` or a call on the disks. */
export function createHost(options: HostOptions): AgentHost {
  const { config, log, supervisor } = options;
  const runner = options.runner ?? new NodeCommandRunner();
  const paths = agentPaths(options.baseDir);
  const network = new NetworkSetup(runner, paths);
  const sources = config.settings.sources.map((source) => createSource(source, runner));
  const resolver = new DeviceResolver(config.linux, runner, options.resolverTimes);

  const settings: AgentSettingsService = new AgentSettingsService({
    loader: new SettingsLoader({
      sources,
      useRegistry: config.settings.useRegistry,
      useServerName: config.settings.useServerName,
      prepareNetwork: async (networks, signal) => {
        if (config.linux.Container) return;
        if (networks === undefined) return network.ensureAnyAddress(signal);
        const changes = await network.probe(networks, signal ?? AbortSignal.timeout(180_000));
        for (const change of changes) await change.apply();
      },
      acceptKey: async (publicKey) => {
        const account = await accountOf('vcap');
        if (account === undefined) return;
        for (const change of await wantAuthorizedKeys(account, [publicKey])) await change.apply();
      },
    }),
    sources,
    paths,
    log,
    onUpdate: (merged) => applyUpdate(merged),
  });
  const context: HostContext = { linux: config.linux, supervisor, paths, runner, log, settings };
  const preparer = new DiskPreparer(runner, new FormatIntents(paths.diskFormatIntents));
  const disks = new LinuxPersistentDisks({
    context,
    resolver,
    preparer,
    ...(options.unmountAttempts === undefined ? {} : { unmountAttempts: options.unmountAttempts }),
  });
  const data = new DataDisk(context, resolver, preparer);

  async function applyUpdate(merged: UpdateSettings): Promise<void> {
    await linkAssociatedDisks(merged['disk_associations'], paths, (cid) => disks.devicePath(cid));
    const certificates = merged['trusted_certs'];
    await installTrustedCertificates(runner, typeof certificates === 'string' ? certificates : '');
  }

  return {
    settings,
    disks,
    machine: new LinuxMachine(
      runner,
      paths,
      () => settings.current().agent_id,
      async () => {
        await setUpFirewall({
          ...context,
          signal: AbortSignal.timeout(firewall.timeoutMs),
          onChange: async () => undefined,
        });
      },
    ),
    bootstrap: new BootstrapRunner({
      context,
      steps: bootstrapSteps({
        data: [rawEphemeralDisks(resolver), dataDisk(data), swap(data), rootDisk],
        persistent: [persistentDisk(disks)],
      }),
      ...(options.onBootstrapEvent ? { onEvent: options.onBootstrapEvent } : {}),
    }),
  };
}

/** `instance/disks/<name>` → device, for jobs that use several disks by name. */
async function linkAssociatedDisks(
  associations: Json | undefined,
  paths: AgentPaths,
  deviceOf: (cid: string) => Promise<string>,
): Promise<void> {
  if (!Array.isArray(associations)) return;
  const directory = join(paths.instance, 'disks');
  for (const association of associations as Json[]) {
    const entry = isJsonObject(association) ? association : undefined;
    const name = stringOf(entry, 'name');
    const cid = stringOf(entry, 'cid');
    if (name === undefined || cid === undefined || basename(name) !== name) continue;
    const device = await deviceOf(cid);
    await mkdir(directory, { recursive: true });
    for (const change of await wantLink(join(directory, name), device)) await change.apply();
  }
}
