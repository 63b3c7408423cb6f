import { spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCode, messageChain } from '@microbosh/errors';
import { processFolder } from '@microbosh/host';
import { generateCertificate } from '@microbosh/spec';
import { build } from 'esbuild';
import { SimulatedCloud } from '../src/testing/simulated-cloud.ts';
import type { KillOrder, Misbehaviour } from '../src/testing/simulated-cloud.ts';
import type { DeployerDependencies } from '../src/ports/deployer-dependencies.ts';
import {
  shortOfAnswers,
  shortOfHealth,
  simulatedDependencies,
} from '../src/testing/simulated-dependencies.ts';
import { runSimulated } from '../src/testing/run-simulated.ts';
import type { SimulatedJob } from '../src/testing/run-simulated.ts';

/** Every step is synced to disk; what a power failure does to a disk is not the subject here. */
function inMemory(): string | undefined {
  return existsSync('/dev/shm') ? '/dev/shm' : undefined;
}

let bundle: Promise<string> | undefined;

/** The simulated deployer, bundled: it is started hundreds of times, and loads only what it uses. */
async function bundledDeployer(): Promise<string> {
  // A worker of the tests is ended, not asked to end: the next one removes it then.
  const { path: outdir } = await processFolder('simulation');
  process.once('exit', () => rmSync(outdir, { recursive: true, force: true }));
  await build({
    entryPoints: [join(import.meta.dirname, '../src/testing/simulated-deployer.ts')],
    bundle: true,
    splitting: true,
    minify: true,
    keepNames: true,
    platform: 'node',
    format: 'esm',
    outdir,
    outExtension: { '.js': '.mjs' },
    logLevel: 'error',
    external: ['cpu-features'],
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  });
  return join(outdir, 'simulated-deployer.mjs');
}

/** What the operator wants. */
export interface Wish {
  readonly diskMiB: number;
  readonly stemcell: string;
  readonly job: string;
  /** Empty: the cloud chooses. */
  readonly address: string;
  /** How long a disk is kept whose content was moved. */
  readonly oldDisk?: string;
  readonly diskStrategy?: 'copy' | 'resize';
}

export interface Outcome {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

export interface Orders {
  readonly kill?: KillOrder;
  readonly misbehaviour?: Misbehaviour;
  readonly flags?: SimulatedJob['flags'];
  /** Events as JSON lines instead of text. */
  readonly json?: boolean;
}

/** One environment in a simulated cloud, deployed by processes that can be killed. */
export class Simulation {
  readonly cloud: SimulatedCloud;
  readonly directory: string;
  /** How many the release has; all but the first need the first. */
  packages = 1;
  readonly #url: string;
  readonly #deployer: string;
  readonly #ca: string;
  #wish: Wish = { diskMiB: 1024, stemcell: '1', job: '1', address: '10.0.0.5' };

  private constructor(directory: string, cloud: SimulatedCloud, url: string, deployer: string, ca: string) {
    this.directory = directory;
    this.cloud = cloud;
    this.#url = url;
    this.#deployer = deployer;
    this.#ca = ca;
  }

  static async create(parent = inMemory() ?? tmpdir()): Promise<Simulation> {
    const cloud = new SimulatedCloud();
    const directory = await mkdtemp(join(parent, 'simulation-'));
    return new Simulation(
      directory,
      cloud,
      await cloud.listen(),
      await (bundle ??= bundledDeployer()),
      await certificate(),
    );
  }

  async close(): Promise<void> {
    await this.cloud.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  get stateFile(): string {
    return join(this.directory, 'm-state.json');
  }

  async wish(change: Partial<Wish>): Promise<void> {
    this.#wish = { ...this.#wish, ...change };
    await writeFile(join(this.directory, 'm.yml'), manifestOf(this.#wish, this.#ca));
  }

  /** One process of the deployer, to its end or to the kill that was ordered. */
  async run(action: SimulatedJob['action'], orders: Orders = {}): Promise<Outcome> {
    this.cloud.orders(orders);
    const job: SimulatedJob = {
      ...this.#job(orders),
      action,
      ...(orders.flags === undefined ? {} : { flags: orders.flags }),
    };
    const child = spawn(process.execPath, [this.#deployer, JSON.stringify(job)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'simulation-compile-cache') },
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exitCode, signal) => {
        clearTimeout(timer);
        resolve({ exitCode, signal, output });
      });
    });
  }

  /**
   * The same in this process, for runs that nobody kills: a process costs more than the deploy. Everything it knows of
   * earlier runs it reads from the files that they left.
   */
  async here(action: SimulatedJob['action'], orders: Omit<Orders, 'kill'> = {}): Promise<Outcome> {
    this.cloud.orders(orders);
    const output: string[] = [];
    try {
      await runSimulated(
        { ...this.#job(orders), action, flags: orders.flags ?? {}, json: orders.json === true },
        (text) => output.push(text),
      );
      return { exitCode: 0, signal: null, output: output.join('') };
    } catch (error) {
      const text = `${output.join('')}\n${errorCode(error) ?? 'E_DEFECT'} ${messageChain(error).join(': ')}`;
      return { exitCode: 1, signal: null, output: text };
    }
  }

  /** The same environment for a program that uses the deployer as a library. */
  asLibrary(): { readonly manifest: string; readonly dependencies: DeployerDependencies } {
    const job = this.#job({});
    return { manifest: job.manifest, dependencies: simulatedDependencies(job) };
  }

  #job({ misbehaviour }: Orders): Omit<SimulatedJob, 'action'> {
    return {
      limits: {
        ...(misbehaviour?.kind === 'late' || misbehaviour?.kind === 'never' ? shortOfAnswers : {}),
        ...(this.cloud.isWell ? {} : shortOfHealth),
      },
      url: this.#url,
      directory: this.directory,
      manifest: join(this.directory, 'm.yml'),
      stemcellVersion: this.#wish.stemcell,
      jobVersion: this.#wish.job,
      packages: this.packages,
    };
  }

  /** Copy of the cloud's truth and of the deployer's files, to return to. */
  async snapshot(): Promise<() => Promise<void>> {
    const truth = this.cloud.copy();
    const state = await readFile(this.stateFile, 'utf8').catch(() => undefined);
    return async () => {
      this.cloud.restore(truth);
      await rm(`${this.stateFile}.d`, { recursive: true, force: true });
      await rm(join(this.directory, 'compiled'), { recursive: true, force: true });
      if (state === undefined) await rm(this.stateFile, { force: true });
      else await writeFile(this.stateFile, state, { mode: 0o600 });
    };
  }

  /** Steps that a deploy would take now. */
  async plan(): Promise<readonly unknown[]> {
    const { output } = await this.here('plan');
    const line = output.split('\n').find((candidate) => candidate.startsWith('PLAN '));
    if (line === undefined) throw new Error(`no plan:\n${output}`);
    return JSON.parse(line.slice('PLAN '.length)) as unknown[];
  }

  async state(): Promise<{
    current_vm_cid: string;
    disks: { cid: string; size: number }[] | null;
    stemcells: { cid: string }[] | null;
    microbosh: { leftover_vms: string[]; previous?: { vm: { cid: string } } };
  }> {
    return JSON.parse(await readFile(this.stateFile, 'utf8')) as Awaited<ReturnType<Simulation['state']>>;
  }
}

/** Any authority: the simulated agents speak no TLS. */
async function certificate(): Promise<string> {
  const options = {
    commonName: 'ca',
    organization: 'test',
    alternativeNames: [],
    isCa: true,
    ca: undefined,
    extendedKeyUsage: [],
    keyUsage: [],
    durationDays: 10,
    keyLength: 2048,
  };
  return (await generateCertificate(options, undefined, new Date())).certificate;
}

function manifestOf(wish: Wish, ca: string): string {
  return `name: sim
releases:
- name: r
  url: file:///r.tgz
resource_pools:
- name: vms
  network: default
  stemcell: {url: file:///stemcell.tgz}
  cloud_properties: {}
disk_pools:
- name: disks
  disk_size: ${wish.diskMiB}
networks:
${
  wish.address === ''
    ? '- {name: default, type: dynamic}'
    : `- name: default
  type: manual
  subnets:
  - {range: 10.0.0.0/24, gateway: 10.0.0.1, dns: []}`
}
instance_groups:
- name: g
  instances: 1
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - {name: default${wish.address === '' ? '' : `, static_ips: [${wish.address}]`}}
  jobs:
  - {name: j, release: r}
  properties: {version: '${wish.job}'}
cloud_provider:
  plugin: local
  mbus: https://mbus:some-password@${wish.address || '0.0.0.0'}:6868
  cert: {ca: ${JSON.stringify(ca)}}
update: {update_watch_time: 0-500, disk_strategy: ${wish.diskStrategy ?? 'copy'}}
limits: {old_disk: ${wish.oldDisk ?? '0'}}
`;
}
