import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '@microbosh/errors';
import { compose } from '../compose.ts';
import { createEnv } from '../engine/create-env.ts';
import { deleteEnv } from '../engine/delete-env.ts';
import { defaultLimits } from '../engine/deploy-run.ts';
import { evaluateInputs } from '../inputs/manifest-inputs.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { buildMemoryCpiRelease } from '../testing/memory-cpi-release.ts';
import { simulatedAgent, simulatedArtifacts } from '../testing/simulated-dependencies.ts';
import { checkCloud, cloudOpener } from './open-cloud.ts';

/** What the CPI, which is not ours, believes to exist. */
interface Truth {
  readonly stemcell: Record<string, unknown>;
  readonly vm: Record<
    string,
    { readonly agent: string; readonly networks: unknown; readonly disks: string[] }
  >;
  readonly disk: Record<string, { readonly size: number }>;
  readonly calls: readonly (readonly [method: string, apiVersion: number, argumentCount: number])[];
}

const inputs = { var: [], varFile: [], varsFile: [], varsEnv: [], opsFile: [] };
const password = 'correct-horse-battery';

let directory: string;
let cache: string;
let manifest: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-release-cloud-'));
  cache = join(directory, 'cache');
  manifest = join(directory, 'm.yml');
  await mkdir(cache);
  const release = await buildMemoryCpiRelease(directory);
  await writeFile(
    manifest,
    `name: dep
releases:
- {name: memory-cpi-release, url: "file://${release}"}
resource_pools:
- name: vms
  network: default
  stemcell: {url: file:///stemcell.tgz}
  cloud_properties: {size: small}
disk_pools:
- {name: disks, disk_size: 1024}
networks:
- name: default
  type: manual
  subnets:
  - {range: 10.0.0.0/24, gateway: 10.0.0.1, dns: []}
instance_groups:
- name: g
  instances: 1
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - {name: default, static_ips: [10.0.0.5]}
  jobs:
  - {name: memory_cpi, release: memory-cpi-release}
cloud_provider:
  template: {name: memory_cpi, release: memory-cpi-release}
  mbus: https://mbus:some-password@10.0.0.5:6868
  properties:
    memory: {state: "${join(directory, 'truth.json')}", password: ${password}}
`,
  );
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** The agent of a VM that exists as far as the deployer is told. */
function agent(): ReturnType<DeployerDependencies['connectAgent']> {
  let jobs = 'stopped';
  const mounted = new Set<string>();
  return Promise.resolve(
    simulatedAgent(async (method, args = {}): Promise<Json> => {
      const disk = typeof args['disk'] === 'string' ? args['disk'] : '';
      if (method === 'start') jobs = 'running';
      if (method === 'stop') jobs = 'stopped';
      if (method === 'mount_disk') mounted.add(disk);
      if (method === 'unmount_disk') mounted.delete(disk);
      if (method === 'get_state') return jobs;
      if (method === 'list_disk') return [...mounted];
      return method === 'compile_package' ? 'compiled' : null;
    }),
  );
}

function request() {
  const global = { json: false, tty: false, color: false, quiet: true, nonInteractive: true };
  const { context } = compose(global, process, new AbortController().signal);
  context.secrets.add(password);
  const session = agent();
  const dependencies: DeployerDependencies = {
    warmUp: () => undefined,
    checkCloud,
    openCloud: cloudOpener({
      downloads: join(cache, 'downloads'),
      cpi: join(cache, 'cpi'),
      rendered: join(cache, 'rendered'),
    }),
    openArtifacts: () => simulatedArtifacts({ directory, stemcellVersion: '1', jobVersion: '1' }),
    connectAgent: () => session,
    compiledPackages: { find: async () => undefined, keep: async () => undefined },
    limits: { ...defaultLimits, agentMs: 5_000, knownAgentMs: 500, pollMs: 20, watchMaxMs: 5_000 },
    now: () => new Date(),
  };
  const steps: string[] = [];
  context.events.subscribe((event) => {
    if (event.type === 'started') steps.push(event.name);
  });
  const paths = environmentPaths(manifest, undefined, directory);
  return { common: { context, manifest, paths, inputs, dependencies }, steps, paths };
}

async function truth(): Promise<Truth> {
  return JSON.parse(await readFile(join(directory, 'truth.json'), 'utf8')) as Truth;
}

describe('a deploy with a CPI release in another language', () => {
  it('makes what the CPI then knows, asks for info once, and leaves no rendered job behind', async () => {
    const { common, steps, paths } = request();
    const evaluated = await evaluateInputs(manifest, inputs, common.context);
    const flags = { recreate: false, recreateDisk: false, skipDrain: false, registry: 'unsaid' } as const;

    await createEnv({ ...common, evaluated, flags });

    const { stemcell, vm, disk, calls } = await truth();
    const state = JSON.parse(await readFile(paths.state, 'utf8')) as {
      current_vm_cid: string;
      disks: { cid: string; size: number }[];
      stemcells: { cid: string }[];
    };
    expect(Object.keys(vm)).toEqual([state.current_vm_cid]);
    expect(Object.keys(stemcell)).toEqual([state.stemcells[0]?.cid]);
    expect(Object.keys(disk)).toEqual([state.disks[0]?.cid]);
    expect(vm[state.current_vm_cid]).toMatchObject({
      agent: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      networks: { default: { ip: '10.0.0.5', gateway: '10.0.0.1' } },
      disks: [state.disks[0]?.cid],
    });
    expect(calls.filter(([method]) => method === 'info')).toHaveLength(1);
    expect(calls.map(([method]) => method).slice(1, 4)).toEqual([
      'create_stemcell',
      'create_vm',
      'set_vm_metadata',
    ]);
    expect(calls.slice(1).every(([, apiVersion]) => apiVersion === 2)).toBe(true);
    expect(steps.filter((step) => /CPI|package '(base|memory)|Installing/.test(step))).toEqual([
      'installing CPI',
      expect.stringContaining("Compiling package 'base/"),
      expect.stringContaining("Compiling package 'memory_cpi/"),
      'Installing packages',
      "Installing job 'memory_cpi'",
      'Cleaning up rendered CPI jobs',
    ]);
    expect(await readdir(join(cache, 'cpi/rendered'))).toEqual([]);
  });

  it('logs the calls beside the state, without secrets', async () => {
    const { paths } = request();

    const log = await readFile(paths.cpiLog, 'utf8');

    expect((await stat(paths.cpiLog)).mode & 0o777).toBe(0o600);
    expect(log).toContain('"method":"create_vm"');
    expect(log).toContain('debug line 199 of create_vm');
    expect(log).not.toContain(password);
    expect(log).not.toContain('some-password');
  });

  it('is deleted with the CPI of the release, compiled no second time', async () => {
    const { common, steps, paths } = request();

    await deleteEnv({ ...common, keepDisk: false, skipDrain: false });

    const { stemcell, vm, disk } = await truth();
    expect({ stemcell, vm, disk }).toEqual({ stemcell: {}, vm: {}, disk: {} });
    expect(steps.some((step) => step.startsWith('Compiling package'))).toBe(false);
    await expect(stat(paths.state)).rejects.toThrow(/ENOENT/);
  });
});
