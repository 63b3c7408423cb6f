import { createHash } from 'node:crypto';
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { archiveFile, unpackTar, type OpenedRelease } from '@microbosh/artifacts';
import { OperationalError, messageOf } from '@microbosh/errors';
import {
  CommandFailed,
  processFolder,
  withDirectoryLock,
  writeFileDurably,
  type CommandRunner,
  type SecretRegister,
} from '@microbosh/host';
import { cpiEvaluationContext, type TemplateRenderer } from '@microbosh/ruby-templates';
import { planCompilation, type PlannedPackage, type ReleaseCloud, type ReleaseJob } from '@microbosh/spec';

/** The CPI release does not fit the manifest: no job with a CPI, or more than one. */
export class CpiJobAmbiguous extends OperationalError {
  readonly code = 'E_CPI_JOB_AMBIGUOUS';
}

/** A package of the CPI release does not compile on this machine. */
export class CpiCompilationFailed extends OperationalError {
  readonly code = 'E_CPI_COMPILATION_FAILED';
}

export interface CpiInstallInput {
  readonly deployment: string;
  /** Stable id of this environment's installation (`installation_id` of the state). */
  readonly installationId: string;
  readonly cloud: Pick<ReleaseCloud, 'properties' | 'templates' | 'locate'>;
  /** Releases by name, opened. */
  readonly releases: ReadonlyMap<string, OpenedRelease>;
}

export interface CpiInstallTools {
  /**
   * Holds compiled CPI packages, shared between environments. A set of packages has its directory for good: compiled
   * programs may have its path inside.
   */
  readonly cacheDirectory: string;
  readonly runner: CommandRunner;
  readonly renderer: Pick<TemplateRenderer, 'render'>;
  readonly secrets: SecretRegister;
  readonly signal?: AbortSignal;
  /** One stage per package and step, as create-env shows them. */
  readonly stage: <T>(name: string, work: () => Promise<T>) => Promise<T>;
}

export interface InstalledCpi {
  readonly executable: string;
  /** For the CPI's process, beside what it inherits. */
  readonly env: Readonly<Record<string, string>>;
  /** Removes the rendered jobs, which hold secrets. */
  cleanUp(): Promise<void>;
}

interface ChosenJob {
  readonly release: string;
  readonly job: ReleaseJob;
}

/**
 * Installs a CPI release on this machine as create-env does (its reference, §8.3): compiles the packages of the CPI's
 * jobs in dependency order, each with its direct dependencies in place, renders the jobs with
 * `cloud_provider.properties` only, and answers the one `bin/cpi`. Killed at any moment, the next run goes on with the
 * packages that were finished.
 */
export async function installCpi(input: CpiInstallInput, tools: CpiInstallTools): Promise<InstalledCpi> {
  const jobs = chooseJobs(input);
  const cpiJob = theCpiJob(jobs);
  const plan = planCompilation({
    releases: [...input.releases.values()].map(({ manifest }) => manifest),
    jobs: jobs.map(({ release, job }) => ({
      name: job.manifest.name,
      release,
      packages: job.manifest.packages,
    })),
  });
  const order = plan.levels.flat().flatMap((key) => plan.packages.get(key) ?? []);
  const home = join(tools.cacheDirectory, setDigest(order));
  const packagesDir = join(home, 'packages');
  await withDirectoryLock(home, tools.signal, async () => {
    if (await exists(join(home, 'complete'))) return;
    for (const item of order) {
      const name = `Compiling package '${item.name}/${item.fingerprint}'`;
      await tools.stage(name, () => compilePackage(item, plan.packages, home, input.releases, tools));
    }
    await tools.stage('Installing packages', async () => {
      await rm(packagesDir, { recursive: true, force: true });
      await mkdir(packagesDir, { recursive: true });
      for (const [name, key] of plan.installed)
        await unpackCompiled(home, key, join(packagesDir, name), tools);
      await writeFileDurably(join(home, 'complete'), '');
    });
  });

  const { path: rendered, remove: cleanUp } = await processFolder(
    'jobs',
    await made(join(tools.cacheDirectory, 'rendered')),
  );
  try {
    const files = await tools.stage('Rendering job templates', () => renderJobs(jobs, input, tools));
    for (const { job } of jobs) {
      const { name } = job.manifest;
      await tools.stage(`Installing job '${name}'`, () =>
        installJob(
          join(rendered, name),
          files.filter((file) => file.job === name),
        ),
      );
    }
    const executable = join(rendered, cpiJob.job.manifest.name, 'bin/cpi');
    return { executable, env: { BOSH_PACKAGES_DIR: packagesDir, BOSH_JOBS_DIR: rendered }, cleanUp };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

function chooseJobs({ cloud, releases }: CpiInstallInput): ChosenJob[] {
  return cloud.templates.map(({ name, release }) => {
    const opened = releases.get(release);
    const job = opened?.jobs.get(name);
    if (job === undefined) {
      throw new CpiJobAmbiguous(`Release '${release}' has no job '${name}', which cloud_provider names`, {
        advice: `Its jobs are: ${[...(opened?.jobs.keys() ?? [])].join(', ')}.`,
      });
    }
    return { release, job };
  });
}

function theCpiJob(jobs: readonly ChosenJob[]): ChosenJob {
  const found = jobs.filter(({ job }) => Object.values(job.manifest.templates).includes('bin/cpi'));
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  throw new CpiJobAmbiguous(
    `Found ${found.length} releases containing a template that renders to target 'bin/cpi'. Expected to find 1.`,
    { advice: 'Name exactly one CPI job in cloud_provider.template(s).' },
  );
}

/** What decides whether compiled packages can be used again, this machine's kind included. */
function setDigest(packages: readonly PlannedPackage[]): string {
  const keys = packages.map(({ key }) => key).sort();
  const text = JSON.stringify([process.platform, process.arch, keys]);
  return createHash('sha256').update(text).digest('hex').slice(0, 24);
}

async function compilePackage(
  item: PlannedPackage,
  packages: ReadonlyMap<string, PlannedPackage>,
  home: string,
  releases: ReadonlyMap<string, OpenedRelease>,
  tools: CpiInstallTools,
): Promise<void> {
  const target = compiledPath(home, item.key);
  if (await exists(target)) return;
  const release = releases.get(item.release);
  const archive = (item.compiled ? release?.compiledPackages : release?.packages)?.get(item.name);
  if (archive === undefined) throw new Error(`planned package ${item.name} is not in its release`);
  await mkdir(dirname(target), { recursive: true });
  const work = await mkdtemp(join(home, 'compile-'));
  try {
    const install = join(home, 'packages', item.name);
    await rm(join(home, 'packages'), { recursive: true, force: true });
    if (item.compiled) {
      await unpackTar(archiveFile(archive.path), install, signalOf(tools));
    } else {
      await unpackTar(archiveFile(archive.path), work, signalOf(tools));
      for (const key of item.dependencies) {
        const name = packages.get(key)?.name;
        if (name !== undefined) await unpackCompiled(home, key, join(home, 'packages', name), tools);
      }
      await mkdir(install, { recursive: true });
      await runPackaging(item, work, install, tools);
    }
    const partial = `${target}.partial`;
    await tools.runner.run(['tar', '-cf', partial, '-C', install, '.'], { timeoutMs: 600_000 });
    await rename(partial, target);
  } finally {
    await rm(work, { recursive: true, force: true });
    await rm(join(home, 'packages'), { recursive: true, force: true });
  }
}

async function runPackaging(
  item: PlannedPackage,
  source: string,
  install: string,
  tools: CpiInstallTools,
): Promise<void> {
  if (!(await exists(join(source, 'packaging')))) {
    throw new CpiCompilationFailed(`Packaging script for package '${item.name}' not found`, {
      advice: 'The CPI release is incomplete; build or download it again.',
    });
  }
  const inherited = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  try {
    await tools.runner.run(['bash', '-x', 'packaging'], {
      cwd: source,
      env: {
        ...Object.fromEntries(inherited),
        BOSH_COMPILE_TARGET: source,
        BOSH_INSTALL_TARGET: install,
        BOSH_PACKAGE_NAME: item.name,
        BOSH_PACKAGES_DIR: dirname(install),
      },
      timeoutMs: 3_600_000,
      ...signalOf(tools),
    });
  } catch (error) {
    tools.signal?.throwIfAborted();
    const output =
      error instanceof CommandFailed ? `${error.stdout}${error.stderr}`.trimEnd() : messageOf(error);
    const end = tools.secrets.redact(output.split('\n').slice(-30).join('\n'));
    throw new CpiCompilationFailed(
      `Package '${item.name}' of the CPI does not compile on this machine:\n${end}`,
      {
        advice: 'Install what its packaging script needs (compilers, headers), and run the command again.',
        details: { package: item.name },
      },
    );
  }
}

async function unpackCompiled(
  home: string,
  key: string,
  target: string,
  tools: CpiInstallTools,
): Promise<void> {
  await mkdir(target, { recursive: true });
  await tools.runner.run(['tar', '-xf', compiledPath(home, key), '-C', target], { timeoutMs: 600_000 });
}

interface RenderedFile {
  readonly job: string;
  readonly target: string;
  readonly content: string | Buffer;
}

async function renderJobs(
  jobs: readonly ChosenJob[],
  input: CpiInstallInput,
  tools: CpiInstallTools,
): Promise<RenderedFile[]> {
  const files = jobs.flatMap(({ job }) => {
    const { manifest, templates } = job;
    const context = cpiEvaluationContext(input.deployment, input.cloud, manifest, {
      id: input.installationId,
    });
    return Object.entries(manifest.templates).map(([source, target]) => ({
      job: manifest.name,
      target,
      request: {
        context,
        template: templates.get(source) ?? '',
        path: `${manifest.name}/templates/${source}`,
      },
    }));
  });
  const contents = await tools.renderer.render(
    files.map(({ request }) => request),
    signalOf(tools),
  );
  return files.map(({ job, target }, index) => ({ job, target, content: contents[index] ?? '' }));
}

async function installJob(directory: string, files: readonly RenderedFile[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const { target, content } of files) {
    const path = join(directory, target);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content, { mode: 0o600 });
  }
  const bin = join(directory, 'bin');
  for (const name of (await exists(bin)) ? await readdir(bin) : []) await chmod(join(bin, name), 0o755);
}

function compiledPath(home: string, key: string): string {
  return join(home, 'compiled', `${key}.tar`);
}

function signalOf(tools: CpiInstallTools): { readonly signal?: AbortSignal } {
  return tools.signal === undefined ? {} : { signal: tools.signal };
}

async function made(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return directory;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
