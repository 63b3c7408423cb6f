import { cpus } from 'node:os';
import { mkdir } from 'node:fs/promises';
import { NodeCommandRunner, type CommandRunner } from '@microbosh/host';
import type { AgentParts } from './actions/context.ts';
import { blobActions } from './actions/blob-actions.ts';
import { diskActions } from './actions/disk-actions.ts';
import { jobActions } from './actions/job-actions.ts';
import { machineActions } from './actions/machine-actions.ts';
import { stateActions } from './actions/state-actions.ts';
import { Applier } from './apply/applier.ts';
import { SpecStore } from './apply/spec-store.ts';
import { BlobManager } from './blobstore/blob-manager.ts';
import { createProvider } from './blobstore/create-provider.ts';
import { LocalBlobs } from './blobstore/local-blobs.ts';
import { Compiler } from './compile/compiler.ts';
import type { SupervisorKind } from './config/command-line.ts';
import { ActionError } from './errors.ts';
import { Dispatcher } from './handlers/dispatcher.ts';
import { HttpsServer } from './handlers/https-server.ts';
import { layoutOf, type Layout } from './layout.ts';
import type { AgentHost } from './ports/host.ts';
import type { Log } from './ports/log.ts';
import type { JobSupervisor } from './supervisor/port.ts';
import { TaskManager } from './tasks/task-manager.ts';
import { Vitals } from './vitals/vitals.ts';

export interface AgentOptions {
  readonly baseDir: string;
  readonly supervisor: SupervisorKind;
  readonly host: AgentHost;
  readonly log: Log;
  readonly runner?: CommandRunner;
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
  const { supervisor, begin } = await createSupervisor(options.supervisor, layout, log);
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
    publish: () => undefined,
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
  await begin();
  await dispatcher.restore();
  const server = createHandler(host, { dispatcher, blobs: localBlobs, log });
  const { port } = await server.listen();
  log.info({ port }, 'serving');
  return {
    port,
    close: async () => {
      await server.close();
      await supervisor.close();
    },
  };
}

async function createSupervisor(
  kind: SupervisorKind,
  layout: Layout,
  log: Log,
): Promise<{ readonly supervisor: JobSupervisor; readonly begin: () => Promise<void> }> {
  if (kind !== 'builtin') {
    throw new ActionError(`The supervisor '${kind}' is not part of this agent`, {
      code: 'E_SUPERVISOR',
      advice: 'Start the agent with -M builtin.',
    });
  }
  const { BuiltinSupervisor } = await import('./supervisor/builtin-supervisor.ts');
  const supervisor = new BuiltinSupervisor({ layout, log });
  return { supervisor, begin: () => supervisor.begin() };
}

function createHandler(
  host: AgentHost,
  parts: { readonly dispatcher: Dispatcher; readonly blobs: LocalBlobs; readonly log: Log },
): HttpsServer {
  const { mbus, env } = host.settings.current();
  const bosh = env?.bosh;
  const url = URL.canParse(mbus) ? new URL(mbus) : undefined;
  if (url?.protocol !== 'https:') {
    throw new ActionError('The message bus is not an https URL', {
      code: 'E_MBUS',
      advice: 'mbus in the settings has the form https://user:password@0.0.0.0:6868.',
    });
  }
  const certificate = mbusCertificate(bosh);
  return new HttpsServer({
    ...parts,
    ...certificate,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 443 : Number(url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  });
}

function mbusCertificate(bosh: unknown): { readonly certificate: string; readonly privateKey: string } {
  const member = (object: unknown, key: string): unknown =>
    typeof object === 'object' && object !== null ? (object as Record<string, unknown>)[key] : undefined;
  const cert = member(member(bosh, 'mbus'), 'cert');
  const [certificate, privateKey] = [member(cert, 'certificate'), member(cert, 'private_key')];
  if (typeof certificate === 'string' && typeof privateKey === 'string') return { certificate, privateKey };
  throw new ActionError(
    'Loading configured tls certificate: env.bosh.mbus.cert has no certificate and private_key',
    {
      code: 'E_MBUS_CERTIFICATE',
      advice: 'Give the deployment env.bosh.mbus.cert, or let the deployer generate it.',
    },
  );
}
