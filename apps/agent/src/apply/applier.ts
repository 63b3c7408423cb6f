import { randomUUID } from 'node:crypto';
import { access, chmod, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { errorCode, messageOf, type Json } from '@microbosh/errors';
import { writeFileDurably, type CommandRunner } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import type { BlobManager } from '../blobstore/blob-manager.ts';
import type { LocalBlobs } from '../blobstore/local-blobs.ts';
import { ActionError, wrapping } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { Log } from '../ports/log.ts';
import type { JobSupervisor } from '../supervisor/port.ts';
import type { TaskContext } from '../tasks/task-manager.ts';
import { linkTarget, pointLink } from './links.ts';
import { writeLogrotate } from './logrotate.ts';
import { fixJobPermissions, giveToVcap, vcapGroup } from './ownership.ts';
import {
  bundleDirectory,
  hasConfiguration,
  isBundleName,
  wantedBundles,
  type JobToInstall,
  type PackageToInstall,
  type SentSpec,
  type WantedBundles,
} from './spec.ts';
import type { SpecStore } from './spec-store.ts';
import { isSameTree } from './same-tree.ts';
import { ArchiveInvalid, everythingBelow, unpack } from './unpack.ts';

export interface ApplierOptions {
  readonly layout: Layout;
  readonly blobs: BlobManager;
  readonly localBlobs: LocalBlobs;
  readonly specs: SpecStore;
  readonly supervisor: JobSupervisor;
  readonly runner: CommandRunner;
  /** Networks of the settings, DHCP resolved. */
  readonly networks: () => NetworksSpec;
  readonly log: Log;
}

/** The set that is enabled before a switch: everything that the switch changes. */
interface Enabled {
  readonly spec: SentSpec;
  readonly links: ReadonlyMap<string, string>;
  readonly packagesOfJobs: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly controlFiles: ReadonlyMap<string, Buffer>;
}

interface Installed {
  readonly jobs: ReadonlyMap<string, string>;
  readonly packages: ReadonlyMap<string, string>;
}

/**
 * Makes the machine what a spec says, in two phases. *Install* fetches, verifies and unpacks beside what runs: a failure
 * there changes nothing. *Switch* begins with a durable intent, only renames and links, and is finished by the next
 * process if this one dies: the state is the old one or the new one.
 */
export class Applier {
  readonly #options: ApplierOptions;

  constructor(options: ApplierOptions) {
    this.#options = options;
  }

  async apply(spec: SentSpec, context: TaskContext): Promise<void> {
    const { specs } = this.#options;
    const resolved: SentSpec = { ...spec, networks: this.#resolveNetworks(spec) };
    if (!hasConfiguration(resolved)) {
      await specs.save(resolved);
      return this.#writeInstance(resolved);
    }
    const wanted = wantedBundles(resolved);
    await this.#install(wanted, context);
    context.signal.throwIfAborted();
    context.progress('switching to the new jobs and packages');
    const before = await this.#enabled();
    await specs.saveIntent(resolved);
    try {
      await this.#switch(resolved);
    } catch (error) {
      await this.#goBack(before);
      throw error;
    }
    await this.#tidy(resolved);
  }

  /**
   * After a switch that failed: the previous set, enabled and supervised as it was. Its bundles are all still there.
   * A process that dies here leaves the intent: then the switch is finished instead.
   */
  async #goBack(before: Enabled): Promise<void> {
    const { specs, supervisor, layout, log } = this.#options;
    try {
      for (const dir of [layout.jobs, layout.packages]) {
        await removeOthers(dir, new Set([...before.links.keys()].map((path) => relative(dir, path))));
      }
      for (const [path, target] of before.links) await pointLink(path, target);
      for (const [job, packages] of before.packagesOfJobs) await this.#linkPackages(job, packages);
      for (const [name, content] of before.controlFiles) {
        await writeFileDurably(join(layout.monitJobs, name), content, { mode: 0o600 });
      }
      await specs.save(before.spec);
      await specs.clearIntent();
      await supervisor.reload();
      await this.#writeInstance(before.spec);
    } catch (error) {
      log.error({ err: messageOf(error) }, 'the previous jobs could not be put back');
    }
  }

  async #enabled(): Promise<Enabled> {
    const { layout, specs } = this.#options;
    const links = new Map<string, string>();
    const packagesOfJobs = new Map<string, ReadonlyMap<string, string>>();
    for (const dir of [layout.jobs, layout.packages]) {
      for (const [name, target] of await linksIn(dir)) {
        links.set(join(dir, name), target);
        const packages = join(target, 'packages');
        if (dir === layout.jobs && (await exists(packages)))
          packagesOfJobs.set(packages, await linksIn(packages));
      }
    }
    return { spec: await specs.current(), links, packagesOfJobs, controlFiles: await this.#controlFiles() };
  }

  async #controlFiles(): Promise<ReadonlyMap<string, Buffer>> {
    const { monitJobs } = this.#options.layout;
    const files = new Map<string, Buffer>();
    for (const name of await namesIn(monitJobs)) files.set(name, await readFile(join(monitJobs, name)));
    return files;
  }

  /** Downloads and installs without enabling. */
  async prepare(spec: SentSpec, context: TaskContext): Promise<void> {
    await this.#install(wantedBundles(spec), context);
  }

  /** Finishes a switch that a previous process began. */
  async recover(): Promise<void> {
    await this.#removeLeftovers();
    const intent = await this.#options.specs.intent();
    if (!intent) return;
    this.#options.log.warn({}, 'an apply was interrupted; finishing it');
    await this.#switch(intent);
    await this.#tidy(intent);
  }

  /** Installs packages only: dependencies of a compilation. Returns name → directory. */
  async installPackages(
    packages: readonly PackageToInstall[],
    context: TaskContext,
  ): Promise<ReadonlyMap<string, string>> {
    const installed = new Map<string, string>();
    for (const wanted of packages) {
      installed.set(wanted.name, await this.#installPackage(wanted, context));
    }
    return installed;
  }

  // ── install ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #install(wanted: WantedBundles, context: TaskContext): Promise<Installed> {
    const { layout } = this.#options;
    const names = [...wanted.jobs, ...wanted.packages].map(({ name }) => name);
    const wrong = names.find((name) => !isBundleName(name));
    if (wrong !== undefined)
      throw new ActionError(`'${wrong}' cannot be the name of a job or package`, { code: 'E_SPEC' });
    const gid = await vcapGroup();
    for (const [dir, mode] of [
      [layout.jobs, 0o750],
      [layout.packages, 0o755],
      [layout.dataJobs, 0o750],
      [layout.dataPackages, 0o755],
    ] as const) {
      await mkdir(dir, { recursive: true });
      await chmod(dir, mode);
      await giveToVcap(dir, gid);
    }
    const jobs = await this.#installJobs(wanted, context);
    return { jobs, packages: await this.installPackages(wanted.packages, context) };
  }

  async #installJobs(wanted: WantedBundles, context: TaskContext): Promise<ReadonlyMap<string, string>> {
    const { layout, blobs } = this.#options;
    const { archive, jobs } = wanted;
    const directories = new Map<string, string>();
    if (!archive || jobs.length === 0) return directories;
    for (const job of jobs) directories.set(job.name, this.#jobDirectory(job, archive.digest));
    const missing: JobToInstall[] = [];
    for (const job of jobs) if (!(await exists(directories.get(job.name) ?? ''))) missing.push(job);
    if (missing.length === 0) return directories;

    context.progress(`installing ${missing.length} jobs`);
    await wrapping(`Installing jobs '${missing.map(({ name }) => name).join(', ')}'`, async () => {
      const blob = await wrapping('Getting job source from blobstore', () =>
        blobs.fetch(archive, context.signal),
      );
      const staging = new Map(
        missing.map(({ name }) => [name, join(layout.dataJobs, `.staging-${name}-${randomUUID()}`)]),
      );
      try {
        for (const dir of staging.values()) await mkdir(dir, { recursive: true });
        await unpack(
          blob.path,
          (path) => {
            const [name = '', ...rest] = path.split('/');
            const dir = staging.get(name);
            return dir === undefined ? undefined : join(dir, ...rest);
          },
          { root: layout.dataJobs, signal: context.signal },
        );
        const gid = await vcapGroup();
        for (const [name, dir] of staging) {
          if ((await readdir(dir)).length === 0) throw new ArchiveInvalid(`The archive has no job '${name}'`);
          await fixJobPermissions(dir, gid);
        }
        await this.#commit(
          layout.dataJobs,
          [...staging].map(([name, dir]) => ({
            from: dir,
            to: directories.get(name) ?? '',
            parentMode: 0o750,
          })),
        );
      } finally {
        for (const dir of staging.values()) await rm(dir, { recursive: true, force: true });
        await blob.dispose();
      }
    });
    return directories;
  }

  async #installPackage(wanted: PackageToInstall, context: TaskContext): Promise<string> {
    const { layout, blobs } = this.#options;
    const target = this.#packageDirectory(wanted);
    if (await exists(target)) return target;
    context.progress(`installing package ${wanted.name}`);
    const staging = join(layout.dataPackages, `.staging-${wanted.name}-${randomUUID()}`);
    await wrapping(`Installing package '${wanted.name}'`, async () => {
      const blob = await wrapping('Fetching package blob', () => blobs.fetch(wanted, context.signal));
      try {
        await mkdir(staging, { recursive: true });
        await unpack(blob.path, everythingBelow(staging), {
          root: layout.dataPackages,
          signal: context.signal,
        });
        await chmod(staging, 0o755);
        await giveToVcap(staging, await vcapGroup());
        await this.#commit(layout.dataPackages, [{ from: staging, to: target, parentMode: 0o755 }]);
      } finally {
        await rm(staging, { recursive: true, force: true });
        await blob.dispose();
      }
    });
    return target;
  }

  /** What has its final name is complete, also after a power loss: everything is on the disk before the renames. */
  async #commit(
    root: string,
    moves: readonly { readonly from: string; readonly to: string; readonly parentMode: number }[],
  ): Promise<void> {
    await this.#options.runner.run(['sync', '-f', root], { timeoutMs: 600_000 });
    const gid = await vcapGroup();
    for (const { from, to, parentMode } of moves) {
      const parent = join(to, '..');
      await mkdir(parent, { recursive: true });
      await chmod(parent, parentMode);
      await giveToVcap(parent, gid);
      await rename(from, to).catch(async (error: unknown) => {
        // Another compilation installed the same dependency meanwhile; what has its final name is complete.
        if (!['ENOTEMPTY', 'EEXIST'].includes(errorCode(error) ?? '')) throw error;
      });
    }
  }

  // ── switch ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #switch(spec: SentSpec): Promise<void> {
    const { layout, specs, supervisor } = this.#options;
    const wanted = wantedBundles(spec);
    const { packages, jobs } = this.#directoriesOf(wanted);
    const changed = await this.#changedJobs(jobs, packages);
    if (changed.length > 0) await this.#dropControlFiles(changed);
    await this.#link(spec);
    if (changed.length > 0) await supervisor.reload();
    await specs.save(spec);
    await this.#writeInstance(spec);
    await writeLogrotate(layout, this.#options.runner, spec.properties?.logging?.max_log_file_size ?? '');
    await specs.clearIntent();
  }

  /** Deletes what the spec does not name; the next apply or start does what a dying process leaves. */
  async #tidy(spec: SentSpec): Promise<void> {
    const { layout, localBlobs } = this.#options;
    const wanted = wantedBundles(spec);
    const { packages, jobs } = this.#directoriesOf(wanted);
    await keepOnly(layout.dataJobs, jobs);
    await keepOnly(layout.dataPackages, packages);
    if (wanted.archive && wanted.archive.blobId !== '') await localBlobs.remove(wanted.archive.blobId);
  }

  /** Links exactly the jobs and packages of a spec, whose bundles are installed. */
  async #link(spec: SentSpec): Promise<void> {
    const { layout } = this.#options;
    const { packages, jobs } = this.#directoriesOf(wantedBundles(spec));
    for (const [name, dir] of packages) await pointLink(join(layout.packages, name), dir);
    for (const [name, dir] of jobs) {
      await this.#jobDirectories(name);
      await this.#linkPackages(join(dir, 'packages'), packages);
      await pointLink(join(layout.jobs, name), dir);
    }
    await removeOthers(layout.jobs, new Set(jobs.keys()));
    await removeOthers(layout.packages, new Set(packages.keys()));
  }

  #directoriesOf(wanted: WantedBundles): {
    readonly packages: ReadonlyMap<string, string>;
    readonly jobs: ReadonlyMap<string, string>;
  } {
    const digest = wanted.archive?.digest ?? '';
    return {
      packages: new Map(wanted.packages.map((item) => [item.name, this.#packageDirectory(item)])),
      jobs: new Map(wanted.jobs.map((job) => [job.name, this.#jobDirectory(job, digest)])),
    };
  }

  /** Jobs whose files or packages differ from what is enabled now, and those that go. */
  async #changedJobs(
    jobs: ReadonlyMap<string, string>,
    packages: ReadonlyMap<string, string>,
  ): Promise<readonly string[]> {
    const { layout } = this.#options;
    const enabled = await namesIn(layout.jobs);
    const changed = enabled.filter((name) => !jobs.has(name));
    for (const [name, dir] of jobs) {
      // All jobs share an archive: most of them are the same when another one changed.
      const before = await linkTarget(join(layout.jobs, name));
      const isSame =
        before !== undefined &&
        (await this.#hasPackages(join(before, 'packages'), packages)) &&
        (before === dir || (await isSameTree(before, dir, new Set(['packages']))));
      if (!isSame) changed.push(name);
    }
    return changed;
  }

  async #hasPackages(dir: string, packages: ReadonlyMap<string, string>): Promise<boolean> {
    const linked = await namesIn(dir);
    if (linked.length !== packages.size) return false;
    for (const [name, target] of packages) if ((await linkTarget(join(dir, name))) !== target) return false;
    return true;
  }

  /** Changed jobs are no longer supervised until `start` writes their control files again. */
  async #dropControlFiles(jobs: readonly string[]): Promise<void> {
    const { monitJobs } = this.#options.layout;
    const pattern = (name: string) =>
      new RegExp(`^\\d{4}_${escapeRegExp(name)}(_.*)?\\.monitrc(\\.refused)?$`);
    for (const file of await namesIn(monitJobs)) {
      if (jobs.some((name) => pattern(name).test(file))) await rm(join(monitJobs, file), { force: true });
    }
  }

  async #linkPackages(dir: string, packages: ReadonlyMap<string, string>): Promise<void> {
    await mkdir(dir, { recursive: true, mode: 0o750 });
    for (const [name, target] of packages) await pointLink(join(dir, name), target);
    await removeOthers(dir, new Set(packages.keys()));
  }

  async #jobDirectories(job: string): Promise<void> {
    const { layout } = this.#options;
    const gid = await vcapGroup();
    for (const dir of [join(layout.logs, job), join(layout.run, job), join(layout.data, job)]) {
      await mkdir(dir, { recursive: true });
      await chmod(dir, 0o770);
      await giveToVcap(dir, gid);
    }
  }

  async #writeInstance(spec: SentSpec): Promise<void> {
    const { instance } = this.#options.layout;
    await mkdir(instance, { recursive: true, mode: 0o755 });
    const values = { id: spec.id, az: spec.az, name: spec.name, deployment: spec.deployment };
    for (const [name, value] of Object.entries(values)) {
      await writeFileDurably(join(instance, name), value ?? '', { mode: 0o644 });
    }
  }

  /** Staging directories and links of a process that died. */
  async #removeLeftovers(): Promise<void> {
    const { layout } = this.#options;
    for (const dir of [layout.dataJobs, layout.dataPackages, layout.jobs, layout.packages]) {
      for (const name of await namesIn(dir, true)) {
        if (name.startsWith('.staging-') || /^\.[0-9a-f-]{36}\.link$/.test(name)) {
          await rm(join(dir, name), { recursive: true, force: true });
        }
      }
    }
  }

  #resolveNetworks(spec: SentSpec): NonNullable<SentSpec['networks']> {
    const known = this.#options.networks();
    const resolved: Record<string, Record<string, Json>> = {};
    for (const [name, network] of Object.entries(spec.networks ?? {})) {
      if (name === 'local' && network.ip === '127.0.0.1') {
        resolved[name] = network;
        continue;
      }
      const settings = known[name];
      if (!settings)
        throw new ActionError(`Network '${name}' is not found in settings`, { code: 'E_NETWORK' });
      const isDhcp = settings.type === 'dynamic' || settings.use_dhcp === true || settings.resolved === true;
      const { ip, netmask, gateway } = settings;
      resolved[name] = {
        ...network,
        ...(isDhcp && ip !== undefined ? { ip } : {}),
        ...(isDhcp && netmask !== undefined ? { netmask } : {}),
        ...(isDhcp && gateway !== undefined ? { gateway } : {}),
      };
    }
    return resolved;
  }

  #jobDirectory(job: JobToInstall, digest: string): string {
    return join(this.#options.layout.dataJobs, job.name, bundleDirectory(job.version, digest));
  }

  #packageDirectory(wanted: PackageToInstall): string {
    return join(
      this.#options.layout.dataPackages,
      wanted.name,
      bundleDirectory(wanted.version, wanted.digest),
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function namesIn(dir: string, hidden = false): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter((name) => hidden || !name.startsWith('.'));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function linksIn(dir: string): Promise<ReadonlyMap<string, string>> {
  const links = new Map<string, string>();
  for (const name of await namesIn(dir)) {
    const target = await linkTarget(join(dir, name));
    if (target !== undefined) links.set(name, target);
  }
  return links;
}

async function removeOthers(dir: string, keep: ReadonlySet<string>): Promise<void> {
  for (const name of await namesIn(dir)) {
    if (!keep.has(name)) await rm(join(dir, name), { recursive: true, force: true });
  }
}

/** Deletes bundles that the spec does not name. */
async function keepOnly(root: string, wanted: ReadonlyMap<string, string>): Promise<void> {
  for (const name of await namesIn(root)) {
    const dir = join(root, name);
    const keep = wanted.get(name);
    if (keep === undefined) {
      await rm(dir, { recursive: true, force: true });
      continue;
    }
    if (!(await stat(dir)).isDirectory()) continue;
    for (const version of await namesIn(dir)) {
      if (join(dir, version) !== keep) await rm(join(dir, version), { recursive: true, force: true });
    }
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
