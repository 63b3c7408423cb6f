import { writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { OperationalError } from '@microbosh/errors';
import type { ErrorCode, Json, JsonObject } from '@microbosh/errors';
import type { CallContext } from '@microbosh/cpi';
import type { Cloud } from '../engine/effects.ts';
import { compiledPackageCache } from '../content/compiled-package-cache.ts';
import { defaultLimits } from '../engine/deploy-run.ts';
import type { Limits } from '../engine/deploy-run.ts';
import type { AgentSession } from '../ports/agent.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import { digestOf } from '../state/state-document.ts';

class SimulatedFailure extends OperationalError {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

const codes: Readonly<Record<string, ErrorCode>> = {
  'Bosh::Clouds::VMNotFound': 'E_CPI_VM_NOT_FOUND',
  'Bosh::Clouds::DiskNotFound': 'E_CPI_DISK_NOT_FOUND',
  'Bosh::Clouds::DiskNotAttached': 'E_CPI_DISK_NOT_ATTACHED',
  'Bosh::Clouds::StemcellNotFound': 'E_CPI_STEMCELL_NOT_FOUND',
  'Bosh::Clouds::NotSupported': 'E_CPI_NOT_SUPPORTED',
};

export interface SimulationOptions {
  /** Where the simulated cloud listens. */
  readonly url: string;
  /** For files of the deployer. */
  readonly directory: string;
  /** Version of everything that the deployment consists of: another one means another stemcell, job and package. */
  readonly stemcellVersion: string;
  readonly jobVersion: string;
  readonly limits?: Partial<Limits>;
  /** All but the first need the first. */
  readonly packages?: number;
}

/** A busy machine is no misfortune: what answers at all is waited for. */
const patience = {
  ...{ agentMs: 20_000, knownAgentMs: 1_000, pollMs: 20, watchMaxMs: 20_000 },
  ...{ cpiMs: 20_000, taskMs: 20_000, drainMs: 20_000, compileMs: 20_000, copyMs: 20_000 },
} satisfies Partial<Limits>;

/** Where a call is answered too late or never. */
export const shortOfAnswers: Partial<Limits> = {
  ...{ cpiMs: 700, taskMs: 700, drainMs: 700, compileMs: 700, copyMs: 700 },
};

/** Where an agent is silent, or its jobs do not run. */
export const shortOfHealth: Partial<Limits> = { agentMs: 800, knownAgentMs: 300, watchMaxMs: 800 };

/** The engine's dependencies over a simulated cloud in another process. */
export function simulatedDependencies(options: SimulationOptions): DeployerDependencies {
  const call = async (method: string, args: JsonObject): Promise<Json> => {
    const answer = JSON.parse(
      await post(options.url, JSON.stringify({ method, args, pid: process.pid })),
    ) as {
      result?: Json;
      error?: { type: string; message: string };
    };
    if (answer.error !== undefined) {
      throw new SimulatedFailure(codes[answer.error.type] ?? 'E_CPI_CLOUD', answer.error.message);
    }
    return answer.result ?? null;
  };
  return {
    warmUp: () => undefined,
    checkCloud: async () => undefined,
    openCloud: async () => simulatedCpi(call),
    connectAgent: async ({ mbus }) => {
      const host = new URL(mbus).hostname;
      return simulatedAgent((method, args = {}) => call(`agent:${method}`, { host, ...args }));
    },
    openArtifacts: async () => simulatedArtifacts(options),
    compiledPackages: compiledPackageCache(join(options.directory, 'compiled')),
    limits: { ...defaultLimits, ...patience, ...options.limits },
    now: () => new Date(),
  };
}

/** As small as can be: hundreds of processes begin with it. */
function post(url: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent: false }, (response) => {
      text(response).then(resolve, reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

type Call = (method: string, args: JsonObject) => Promise<Json>;

function textOf(answer: Json): string {
  if (typeof answer !== 'string') throw new Error('the simulation did not answer with a text');
  return answer;
}

function simulatedCpi(call: Call): Cloud {
  const cidOf = async (method: string, args: JsonObject) => textOf(await call(method, args));
  const done = async (method: string, args: JsonObject) => void (await call(method, args));
  const tokenOf = (context: CallContext) => ({ token: context.token ?? '' });
  const unused = () => Promise.reject(new Error('not used by the deployer'));
  return {
    info: async () => ({ stemcell_formats: [], api_version: 2 }),
    createStemcell: (context) => cidOf('create_stemcell', tokenOf(context)),
    deleteStemcell: (_context, cid) => done('delete_stemcell', { cid }),
    createVm: async (context, _agentId, _stemcell, _properties, networks) => {
      const ip = Object.values(networks)[0]?.ip ?? '';
      const cid = await cidOf('create_vm', { ...tokenOf(context), address: ip });
      const answered = ip === '' ? textOf(await call('address', { cid })) : ip;
      const named = Object.entries(networks).map(
        ([name, spec]) => [name, { ...spec, ip: answered }] as const,
      );
      return { cid, networks: Object.fromEntries(named) };
    },
    deleteVm: (_context, cid) => done('delete_vm', { cid }),
    hasVm: async (_context, cid) => (await call('has_vm', { cid })) === true,
    rebootVm: unused,
    setVmMetadata: (_context, vm) => done('set_vm_metadata', { vm }),
    createDisk: (context, size) => cidOf('create_disk', { ...tokenOf(context), size }),
    deleteDisk: (_context, disk) => done('delete_disk', { disk }),
    hasDisk: async (_context, cid) => (await call('has_disk', { cid })) === true,
    attachDisk: (_context, vm, disk) => call('attach_disk', { vm, disk }),
    detachDisk: (_context, vm, disk) => done('detach_disk', { vm, disk }),
    getDisks: unused,
    setDiskMetadata: async () => undefined,
    resizeDisk: (_context, disk, size) => done('resize_disk', { disk, size }),
    snapshotDisk: unused,
    deleteSnapshot: unused,
    calculateVmCloudProperties: unused,
    findByToken: async (_context, kind, token) => {
      const found = await call('find', { kind, token });
      return typeof found === 'string' ? found : undefined;
    },
  };
}

export function simulatedAgent(call: (method: string, args?: JsonObject) => Promise<Json>): AgentSession {
  const done = async (method: string, args?: JsonObject) => void (await call(method, args));
  return {
    ping: () => done('ping'),
    explain: (error) => ({ kind: 'refused', text: String(error), hopeless: false }),
    getState: async (_signal, filter) => ({
      jobState: textOf(await call('get_state')),
      raw: filter === 'full' ? { vitals: { disk: { persistent: await call('vitals') } } } : {},
    }),
    apply: (spec) => done('apply', { digest: digestOf(spec) }),
    releaseApplySpec: async () => ({}),
    runScript: (name) => done('run_script', { name }),
    drain: () => done('drain'),
    start: () => done('start'),
    stop: () => done('stop'),
    listDisk: async () => {
      const disks = await call('list_disk');
      return Array.isArray(disks) ? disks.map(String) : [];
    },
    addPersistentDisk: (disk) => done('add_persistent_disk', { disk }),
    removePersistentDisk: (disk) => done('remove_persistent_disk', { disk }),
    mountDisk: (disk) => done('mount_disk', { disk }),
    unmountDisk: (disk) => done('unmount_disk', { disk }),
    migrateDisk: (from, to) => done('migrate_disk', { from, to }),
    compilePackage: async ({ name }) => ({
      blobstore_id: textOf(await call('compile_package', { name })),
      sha1: 'x',
    }),
    uploadBlob: async (path) => ({ blobstore_id: path, sha1: 'x' }),
    downloadBlob: (_blob, path) => writeFile(path, 'compiled'),
    close: async () => undefined,
  };
}

export async function simulatedArtifacts(options: Omit<SimulationOptions, 'url'>) {
  const archive = join(options.directory, `job-${options.jobVersion}.tgz`);
  await writeFile(archive, options.jobVersion);
  const stemcellDigest = digestOf(options.stemcellVersion);
  return {
    stemcell: {
      name: 'simulated',
      version: options.stemcellVersion,
      apiVersion: 3,
      digest: stemcellDigest,
      cloudProperties: null,
      imagePath: async () => archive,
    },
    releases: [{ name: 'r', version: options.jobVersion, digest: options.jobVersion }],
    content: {
      packages: Array.from({ length: options.packages ?? 1 }, (_, index) => ({
        name: `p${index}`,
        fingerprint: options.jobVersion,
        key: `p${index}-${options.jobVersion}-${options.stemcellVersion}`,
        isCompiled: false,
        dependencies: index === 0 ? [] : ['p0'],
        archive: async () => ({ path: archive, sha1: 'x' }),
      })),
      render: async () => ({
        archivePath: archive,
        digest: options.jobVersion,
        jobs: [{ name: 'j', version: options.jobVersion }],
      }),
    },
    files: [
      {
        url: 'file:///stemcell',
        sha1: '',
        path: archive,
        size: 0,
        modified_ns: '0',
        inode: '0',
        digest: stemcellDigest,
      },
    ],
    close: async () => undefined,
  };
}
