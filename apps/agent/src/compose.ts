import { cpus } from 'node:os';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, type JsonObject } from '@microbosh/errors';
import { NodeCommandRunner, type CommandRunner } from '@microbosh/host';
import type { AgentParts } from './actions/context.ts';
import { blobActions } from './actions/blob-actions.ts';
import { diskActions } from './actions/disk-actions.ts';
import { jobActions } from './actions/job-actions.ts';
import { jobState, writeHealth } from './actions/job-state.ts';
import { machineActions } from './actions/machine-actions.ts';
import { stateActions } from './actions/state-actions.ts';
import { alertOf } from './alerts/alert.ts';
import { Applier } from './apply/applier.ts';
import { SpecStore } from './apply/spec-store.ts';
import { BlobManager } from './blobstore/blob-manager.ts';
import { createProvider } from './blobstore/create-provider.ts';
import { LocalBlobs } from './blobstore/local-blobs.ts';
import { Compiler } from './compile/compiler.ts';
import type { SupervisorKind } from './config/command-line.ts';
import { ActionError } from './errors.ts';
import { Dispatcher } from './handlers/dispatcher.ts';
import { HttpsServer, type HttpsLimits } from './handlers/https-server.ts';
import { member, mbusUrls } from './settings/mbus-urls.ts';
import { layoutOf, type Layout } from './layout.ts';
import type { AgentHost } from './ports/host.ts';
import type { Log } from './ports/log.ts';
import type { MonitPlace } from './supervisor/monit/monit-files.ts';
import type { JobSupervisor, SupervisorEvent } from './supervisor/port.ts';
import { TaskManager } from './tasks/task-manager.ts';
import { Vitals } from './vitals/vitals.ts';

export interface AgentOptions {
  readonly baseDir: string;
  readonly supervisor: SupervisorKind;
  readonly host: AgentHost;
  readonly log: Log;
  readonly runner?: CommandRunner;
  /** Where monit is not the machine's own: other ports than the originals'. */
  readonly monit?: MonitPlace;
  readonly httpsLimits?: Partial<HttpsLimits>;
  /** Ends the process; the service manager starts it again. */
  readonly restart: (reason: string) => void;
}

export interface RunningAgent {
  readonly port: number;
  close(): Promise<void>;
}

/** Puts the agent together, brings up what a previous process left, and serves. The bootstrap has run. */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const { host, log } = options;
  const layout = layoutOf(options.baseDir);
  for (const dir of [layout.bosh, layout.tmp, layout.monit]) await mkdir(dir, { recursive: true });
  const runner = options.runner ?? new NodeCommandRunner();
  const localBlobs = new LocalBlobs(layout);
  await localBlobs.prepare();
  const blobs = new BlobManager({
    local: localBlobs,
    provider: () => createProvider(host.settings.current().blobstore, { layout, local: localBlobs, runner }),
  });
  const bus: { current?: Bus } = {};
  const onEvent = (event: SupervisorEvent) => {
    const alert = alertOf(event, host.settings.current().networks);
    if (alert) bus.current?.publish('alert', alert);
  };
  const supervisor = await createSupervisor(options, { layout, runner, log, onEvent });
  const specs = new SpecStore(layout);
  const applier = new Applier({
    ...{ layout, blobs, localBlobs, specs, supervisor, runner, log },
    networks: () => host.settings.current().networks,
  });
  const compiler = new Compiler({ layout, blobs, applier, runner });
  const tasks = new TaskManager({ file: layout.tasks, parallel: cpus().length });
  const parts: AgentParts = {
    ...{ layout, host, runner, log, supervisor, specs, applier, compiler, blobs, localBlobs, tasks },
    vitals: new Vitals(layout),
    publish: (subject, message) => bus.current?.publish(subject, message),
    restartAgent: (reason) => void setTimeout(() => options.restart(reason), 1_000),
  };
  const dispatcher = new Dispatcher({
    actions: {
      ...stateActions(parts),
      ...jobActions(parts),
      ...diskActions(parts),
      ...blobActions(parts),
      ...machineActions(parts),
    },
    tasks,
    log,
  });

  await applier.recover();
  await compiler.recover();
  await supervisor.begin();
  await dispatcher.restore();
  const handler = await createHandler(host, {
    ...{ dispatcher, blobs: localBlobs, log },
    storeLarge: async (content) => {
      const file = await localBlobs.temporaryFile();
      await writeFile(file, content, { mode: 0o600 });
      try {
        return (await blobs.store(file)).blobId;
      } finally {
        await rm(file, { force: true });
      }
    },
    ...(options.httpsLimits === undefined ? {} : { limits: options.httpsLimits }),
  });
  bus.current = handler;
  const heartbeats = handler.sendsNotices ? beginHeartbeats(parts) : undefined;
  // After the handler: until there is somebody to tell, monit keeps its mails.
  const alertServers = await beginAlertServers(options, layout, handler, onEvent);
  log.info({ port: handler.port }, 'serving');
  return {
    port: handler.port,
    close: async () => {
      heartbeats?.abort();
      for (const server of alertServers) await server.close();
      await handler.close();
      await supervisor.close();
    },
  };
}

/** What both handlers are to the rest of the agent; over HTTPS nothing is said unasked. */
interface Bus {
  /** 0 when it does not listen. */
  readonly port: number;
  readonly sendsNotices: boolean;
  publish(subject: 'heartbeat' | 'alert' | 'shutdown', message: unknown): void;
  close(): Promise<void>;
}

const heartbeatIntervalMs = 30_000;

/** At once, then every 30 s; a heartbeat that cannot be made is told in the log and tried again next time. */
function beginHeartbeats(parts: AgentParts): AbortController {
  const stopping = new AbortController();
  const run = async () => {
    while (!stopping.signal.aborted) {
      try {
        parts.publish('heartbeat', await heartbeat(parts));
      } catch (error) {
        parts.log.warn({ err: messageOf(error) }, 'no heartbeat was sent');
      }
      await sleep(heartbeatIntervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };
  void run();
  return stopping;
}

/** Takes what monit mails, and, where there is a bus to tell it on, what sshd logs. */
async function beginAlertServers(
  { supervisor, monit, log }: AgentOptions,
  layout: Layout,
  bus: Bus,
  onEvent: (event: SupervisorEvent) => void,
): Promise<readonly { close(): Promise<void> }[]> {
  const servers: { close(): Promise<void> }[] = [];
  if (supervisor === 'monit') {
    const { AlertMailServer } = await import('./alerts/alert-mail-server.ts');
    const { monitPaths, monitPorts } = await import('./supervisor/monit/monit-files.ts');
    const mails = new AlertMailServer({
      port: monit?.smtpPort ?? monitPorts.smtp,
      credentials: () => readFile(monitPaths(layout.base).mailUser, 'utf8'),
      onEvent,
      log,
    });
    await mails.listen();
    servers.push(mails);
  }
  if (bus.sendsNotices) {
    const { SshAlertServer } = await import('./alerts/ssh-alerts.ts');
    const logins = new SshAlertServer({
      ...(monit?.sshAlertPort === undefined ? {} : { port: monit.sshAlertPort }),
      onAlert: (alert) => bus.publish('alert', alert),
      log,
    });
    if (await logins.listen()) servers.push(logins);
  }
  return servers;
}

async function heartbeat(parts: AgentParts): Promise<JsonObject> {
  const [spec, state] = [await parts.specs.current(), await jobState(parts)];
  await writeHealth(parts.layout, state);
  const processes = await parts.supervisor.processes().catch(() => undefined);
  return {
    deployment: spec.deployment ?? '',
    job: spec.name ?? spec.job?.name ?? null,
    index: spec.index ?? null,
    job_state: state,
    vitals: await parts.vitals.read(),
    node_id: spec.id ?? '',
    number_of_processes: processes?.length ?? null,
  };
}

async function createSupervisor(
  { supervisor: kind, monit }: AgentOptions,
  parts: {
    readonly layout: Layout;
    readonly runner: CommandRunner;
    readonly log: Log;
    readonly onEvent: (event: SupervisorEvent) => void;
  },
): Promise<JobSupervisor> {
  switch (kind) {
    case 'builtin': {
      const { BuiltinSupervisor } = await import('./supervisor/builtin-supervisor.ts');
      return new BuiltinSupervisor(parts);
    }
    case 'monit': {
      const { MonitSupervisor } = await import('./supervisor/monit/monit-supervisor.ts');
      return new MonitSupervisor({ ...parts, ...monit });
    }
    case 'dummy':
      throw new ActionError(`The supervisor '${kind}' is not part of this agent`, {
        code: 'E_SUPERVISOR',
        advice: 'Start the agent with -M monit or -M builtin.',
      });
  }
}

async function createHandler(
  host: AgentHost,
  parts: {
    readonly dispatcher: Dispatcher;
    readonly blobs: LocalBlobs;
    readonly log: Log;
    readonly storeLarge: (content: string) => Promise<string>;
    readonly limits?: Partial<HttpsLimits>;
  },
): Promise<Bus> {
  const { agent_id: agentId, mbus, env } = host.settings.current();
  const bosh = env?.bosh;
  const url = URL.canParse(mbus) ? new URL(mbus) : undefined;
  if (url?.protocol !== 'https:') {
    const { NatsHandler } = await import('./handlers/nats-handler.ts');
    const pair = mbusPair(bosh);
    const hasTls = pair.ca !== undefined || pair.certificate !== undefined;
    const nats = await NatsHandler.connect({
      urls: mbusUrls(bosh) ?? [mbus],
      agentId,
      ...(hasTls ? { tls: pair } : {}),
      dispatcher: parts.dispatcher,
      flushNeighbour: (ip) => host.machine.flushNeighbour(ip),
      refreshFirewall: () => host.machine.refreshFirewall(),
      storeLarge: parts.storeLarge,
      log: parts.log,
    });
    return {
      port: 0,
      sendsNotices: true,
      publish: (subject, message) => nats.publish(subject, message),
      close: () => nats.close(),
    };
  }
  const server = new HttpsServer({
    ...parts,
    ...mbusCertificate(bosh),
    ...clientAuthority(bosh),
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 443 : Number(url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  });
  const { port } = await server.listen();
  return { port, sendsNotices: false, publish: () => undefined, close: () => server.close() };
}

function mbusPair(bosh: unknown): {
  readonly ca?: string;
  readonly certificate?: string;
  readonly privateKey?: string;
} {
  const cert = member(member(bosh, 'mbus'), 'cert');
  const [ca, certificate, privateKey] = ['ca', 'certificate', 'private_key'].map((key) => member(cert, key));
  return {
    ...(typeof ca === 'string' && ca !== '' ? { ca } : {}),
    ...(typeof certificate === 'string' && certificate !== '' ? { certificate } : {}),
    ...(typeof privateKey === 'string' && privateKey !== '' ? { privateKey } : {}),
  };
}

/** Ours: with `env.bosh.mbus.client_ca` only clients with a certificate of that authority are served. */
function clientAuthority(bosh: unknown): { readonly clientCa?: string } {
  const authority = member(member(bosh, 'mbus'), 'client_ca');
  return typeof authority === 'string' && authority !== '' ? { clientCa: authority } : {};
}

function mbusCertificate(bosh: unknown): { readonly certificate: string; readonly privateKey: string } {
  const { certificate, privateKey } = mbusPair(bosh);
  if (certificate !== undefined && privateKey !== undefined) return { certificate, privateKey };
  throw new ActionError(
    'Loading configured tls certificate: env.bosh.mbus.cert has no certificate and private_key',
    {
      code: 'E_MBUS_CERTIFICATE',
      advice: 'Give the deployment env.bosh.mbus.cert, or let the deployer generate it.',
    },
  );
}
