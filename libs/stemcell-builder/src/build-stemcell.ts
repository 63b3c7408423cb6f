import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { JsonObject } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { grubConfiguration, makeDiskImage, rootUuid } from './disk-image.ts';
import { StemcellRequestInvalid } from './errors.ts';
import { flavourOf, type Flavour, type Iaas } from './flavour.ts';
import { bakeMicro, type MicroRequest } from './micro.ts';
import { ovfDescriptor } from './ovf.ts';
import { buildRootFilesystem } from './root-filesystem.ts';
import { requireTools } from './tools.ts';

const longMs = 60 * 60_000;

const suites: Readonly<Record<string, string>> = { 'debian-12': 'bookworm' };

export interface StemcellRequest {
  readonly iaas: Iaas;
  /** `debian-12`. */
  readonly os: string;
  readonly version: string;
  /** The package that `packaging/agent/build` makes. */
  readonly agentPackage: string;
  /** Created when missing. */
  readonly outputDirectory: string;
  /** Size of the root file system in the image. It grows to the size of the VM's disk. */
  readonly diskMiB: number;
  /** Compilers and headers for releases that bring sources. */
  readonly compilers: boolean;
  readonly sourceDateEpoch: number;
  /** A release that is baked in, compiled: a micro stemcell. */
  readonly micro?: MicroRequest;
  readonly cacheDirectory?: string;
  readonly signal?: AbortSignal;
}

/** How the builder tells what it is doing: the deployer's steps, or nothing. */
export interface BuildProgress {
  step<T>(name: string, body: (progress: (message: string) => void) => Promise<T>): Promise<T>;
}

export interface BuiltStemcell {
  readonly path: string;
  readonly sizeBytes: number;
  readonly imageBytes: number;
  readonly rootFilesystemBytes: number;
  /** Of the normalised tar of the root file system: the same inputs give the same digest. */
  readonly rootFilesystemSha256: string;
}

/** Builds `<outputDirectory>/microbosh-stemcell-<version>-<iaas>-<hypervisor>-<os>.tgz`. */
export async function buildStemcell(
  runner: CommandRunner,
  request: StemcellRequest,
  progress: BuildProgress,
): Promise<BuiltStemcell> {
  const suite = suites[request.os];
  if (suite === undefined) {
    throw new StemcellRequestInvalid(`Unknown operating system '${request.os}'`, {
      advice: `Known: ${Object.keys(suites).join(', ')}.`,
    });
  }
  if (!/^\d[\w.+-]*$/.test(request.version)) {
    throw new StemcellRequestInvalid(`'${request.version}' is not a version`, {
      advice: 'A version starts with a digit, for instance 1.0.',
    });
  }
  const flavour = flavourOf(request.iaas);
  await requireTools(runner, flavour);
  await mkdir(request.outputDirectory, { recursive: true });
  // Beside the result, not in /tmp: gigabytes, and the last step is a rename.
  const work = await mkdtemp(join(request.outputDirectory, '.build-'));
  try {
    await chmod(work, 0o755);
    return await new Build(runner, request, progress, flavour, suite, work).run();
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

class Build {
  readonly #runner: CommandRunner;
  readonly #request: StemcellRequest;
  readonly #progress: BuildProgress;
  readonly #flavour: Flavour;
  readonly #suite: string;
  readonly #work: string;

  constructor(
    runner: CommandRunner,
    request: StemcellRequest,
    progress: BuildProgress,
    flavour: Flavour,
    suite: string,
    work: string,
  ) {
    this.#runner = runner;
    this.#request = request;
    this.#progress = progress;
    this.#flavour = flavour;
    this.#suite = suite;
    this.#work = work;
  }

  async run(): Promise<BuiltStemcell> {
    const base = join(this.#work, 'base.tar');
    await this.#progress.step('Building the root file system', (onProgress) =>
      buildRootFilesystem(
        this.#runner,
        {
          flavour: this.#flavour,
          suite: this.#suite,
          compilers: this.#request.compilers,
          sourceDateEpoch: this.#request.sourceDateEpoch,
          onProgress,
          ...(this.#request.cacheDirectory !== undefined && {
            cacheDirectory: this.#request.cacheDirectory,
          }),
          ...(this.#request.signal && { signal: this.#request.signal }),
        },
        base,
      ),
    );
    await this.#progress.step('Installing the agent', () => this.#assemble(base));
    const { micro } = this.#request;
    const applySpec =
      micro &&
      (await this.#progress.step('Baking the release in', (onProgress) =>
        bakeMicro(this.#runner, this.#tree, this.#work, this.#request.iaas, micro, onProgress),
      ));
    await this.#progress.step('Packing the root file system', () => this.#normalise());
    const rootFilesystem = join(this.#work, 'rootfs.tar');
    const rootFilesystemSha256 = await digestOf(rootFilesystem, 'sha256');
    const rootFilesystemBytes = (await stat(rootFilesystem)).size;
    const image = join(this.#work, 'image');
    await this.#makeImage(rootFilesystem, image);
    const imageBytes = (await stat(image)).size;
    const path = await this.#progress.step('Packing the stemcell', () =>
      this.#pack(image, rootFilesystemSha256, applySpec),
    );
    return {
      path,
      sizeBytes: (await stat(path)).size,
      imageBytes,
      rootFilesystemBytes,
      rootFilesystemSha256,
    };
  }

  get #tree(): string {
    return join(this.#work, 'tree');
  }

  get #name(): string {
    return `microbosh-${this.#request.iaas}-${this.#flavour.hypervisor}-${this.#request.os}`;
  }

  /**
   * Owners only exist as root or under fakeroot, whose knowledge is kept in a file between its calls; hence the tree is
   * unpacked once and all later steps see it through the same eyes.
   */
  readonly #asOwner = (argv: readonly [string, ...string[]]): readonly [string, ...string[]] => {
    if (process.getuid?.() === 0) return argv;
    const state = join(this.#work, 'fakeroot.state');
    return ['fakeroot', '-i', state, '-s', state, '--', ...argv];
  };

  async #assemble(base: string): Promise<void> {
    const staged = join(this.#work, 'staged');
    await this.#stage(staged);
    if (process.getuid?.() !== 0) await writeFile(join(this.#work, 'fakeroot.state'), '');
    const script = join(this.#work, 'assemble.sh');
    await writeFile(
      script,
      `set -eu
export PATH="$PATH:/usr/sbin:/sbin"
tree=$1 base=$2 staged=$3 package=$4
mkdir "$tree"
tar -C "$tree" --numeric-owner -xpf "$base"
rm "$base"
# Outside of the tree its users are unknown; dpkg looks them up for overrides that do not concern this package.
overrides=$tree/var/lib/dpkg/statoverride
mv "$overrides" "$overrides.kept" && : >"$overrides"
dpkg --root="$tree" --force-script-chrootless --force-not-root --log=/dev/null --install "$package" >/dev/null
mv "$overrides.kept" "$overrides"
tar -C "$staged" --owner=0 --group=0 --mode=u=rwX,go=rX -cf - . | tar -C "$tree" --no-same-owner --no-overwrite-dir -xpf -
`,
    );
    const { signal } = this.#request;
    await this.#runner.run(
      this.#asOwner(['sh', script, this.#tree, base, staged, this.#request.agentPackage]),
      { timeoutMs: longMs, ...(signal && { signal }) },
    );
  }

  /** Packs the tree so that the same content is the same tar: names sorted, no date after the build's. */
  async #normalise(): Promise<void> {
    const script = join(this.#work, 'normalise.sh');
    await writeFile(
      script,
      `set -eu
tree=$1 epoch=$2 output=$3
rm -rf "$tree"/var/lib/dpkg/*-old "$tree"/dev/* "$tree"/var/cache/debconf/*-old
find "$tree" -newermt "@$epoch" -print0 | xargs -0r touch --no-dereference --date="@$epoch"
tar -C "$tree" --sort=name --numeric-owner --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --mtime="@$epoch" --clamp-mtime -cf "$output" .
dpkg-query --admindir="$tree/var/lib/dpkg" -W -f '\${Package} \${Version} \${Architecture}\\n' >"$output.packages"
`,
    );
    const { signal, sourceDateEpoch } = this.#request;
    await this.#runner.run(
      this.#asOwner(['sh', script, this.#tree, String(sourceDateEpoch), join(this.#work, 'rootfs.tar')]),
      { timeoutMs: longMs, ...(signal && { signal }) },
    );
  }

  /** Files that depend on the IaaS and the version. */
  async #stage(directory: string): Promise<void> {
    const etc = join(directory, 'var/vcap/bosh/etc');
    await mkdir(etc, { recursive: true });
    await writeFile(
      join(directory, 'var/vcap/bosh/agent.json'),
      `${JSON.stringify(this.#flavour.agentConfig, null, 2)}\n`,
    );
    await writeFile(join(etc, 'infrastructure'), `${this.#request.iaas}\n`);
    await writeFile(join(etc, 'stemcell_version'), `${this.#request.version}\n`);
    const unit = join(directory, 'etc/systemd/system/microbosh-agent.service.d');
    await mkdir(unit, { recursive: true });
    await writeFile(join(unit, 'supervisor.conf'), '[Service]\nEnvironment=SUPERVISOR=monit\n');
    if (this.#flavour.kernelPackage === undefined) return;
    await mkdir(join(directory, 'boot/grub'), { recursive: true });
    await writeFile(join(directory, 'boot/grub/grub.cfg'), grubConfiguration());
    await mkdir(join(directory, 'etc'), { recursive: true });
    await writeFile(
      join(directory, 'etc/fstab'),
      `UUID=${rootUuid} / ext4 defaults,noatime,errors=remount-ro 0 1\n`,
    );
  }

  async #makeImage(rootFilesystem: string, image: string): Promise<void> {
    const { signal } = this.#request;
    const options = { timeoutMs: longMs, ...(signal && { signal }) };
    if (this.#flavour.image === 'rootfs-tgz') {
      await this.#progress.step('Compressing the root file system', async () => {
        await this.#compress(rootFilesystem, image);
      });
      return;
    }
    const raw = join(this.#work, 'root.img');
    await this.#progress.step('Making the disk image', () =>
      makeDiskImage(
        this.#runner,
        {
          directory: this.#tree,
          work: this.#work,
          sizeMiB: this.#request.diskMiB,
          sourceDateEpoch: this.#request.sourceDateEpoch,
          asOwner: this.#asOwner,
          ...(signal && { signal }),
        },
        raw,
      ),
    );
    await this.#progress.step(`Converting the disk image to ${this.#flavour.image}`, async () => {
      switch (this.#flavour.image) {
        case 'qcow2':
          await this.#runner.run(
            ['qemu-img', 'convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd', raw, image],
            options,
          );
          return;
        case 'qcow2-tgz': {
          const qcow2 = join(this.#work, 'qcow2');
          await mkdir(qcow2);
          // The clouds' own qemu may not know zstd.
          await this.#runner.run(
            ['qemu-img', 'convert', '-c', '-O', 'qcow2', raw, join(qcow2, 'root.img')],
            options,
          );
          await this.#tar(qcow2, ['root.img'], image, 'compressed');
          return;
        }
        case 'raw-tgz':
          await this.#tar(this.#work, ['root.img'], image, 'plain');
          return;
        case 'ovf-tgz':
          await this.#makeOvf(raw, image);
          return;
        case 'rootfs-tgz':
          return;
      }
    });
    await rm(raw);
  }

  async #makeOvf(raw: string, image: string): Promise<void> {
    const directory = join(this.#work, 'ovf');
    await mkdir(directory);
    const disk = join(directory, 'image-disk1.vmdk');
    await this.#runner.run(
      [
        'qemu-img',
        'convert',
        '-O',
        'vmdk',
        '-o',
        'subformat=streamOptimized,adapter_type=lsilogic,hwversion=9',
        raw,
        disk,
      ],
      { timeoutMs: longMs },
    );
    const descriptor = ovfDescriptor(this.#name, {
      file: 'image-disk1.vmdk',
      fileSizeBytes: (await stat(disk)).size,
      capacityBytes: (await stat(raw)).size,
    });
    await writeFile(join(directory, 'image.ovf'), descriptor);
    const digests = await Promise.all(
      ['image.ovf', 'image-disk1.vmdk'].map(
        async (name) => `SHA1(${name})= ${await digestOf(join(directory, name), 'sha1')}\n`,
      ),
    );
    await writeFile(join(directory, 'image.mf'), digests.join(''));
    await this.#tar(directory, ['image.ovf', 'image.mf', 'image-disk1.vmdk'], image, 'compressed');
  }

  async #pack(image: string, rootFilesystemSha256: string, applySpec: string | undefined): Promise<string> {
    const request = this.#request;
    const directory = join(this.#work, 'stemcell');
    await mkdir(directory);
    await rename(image, join(directory, 'image'));
    await rename(join(this.#work, 'rootfs.tar.packages'), join(directory, 'packages.txt'));
    await writeFile(
      join(directory, 'stemcell.MF'),
      stemcellManifest(this.#flavour, {
        name: this.#name,
        version: request.version,
        os: request.os,
        sha1: await digestOf(join(directory, 'image'), 'sha1'),
        sha256: await digestOf(join(directory, 'image'), 'sha256'),
        rootFilesystemSha256,
        diskMiB: request.diskMiB,
      }),
    );
    const members = ['stemcell.MF', 'packages.txt', 'image'];
    if (applySpec !== undefined) {
      await writeFile(join(directory, 'apply_spec.yml'), applySpec);
      members.splice(1, 0, 'apply_spec.yml');
    }
    const target = join(
      request.outputDirectory,
      `microbosh-stemcell-${request.version}-${request.iaas}-${this.#flavour.hypervisor}-${request.os}.tgz`,
    );
    await this.#tar(directory, members, join(this.#work, 'stemcell.tgz'), 'compressed');
    await rename(join(this.#work, 'stemcell.tgz'), target);
    return target;
  }

  /**
   * Always the same bytes for the same content. What is compressed already is stored, in the form of gzip that CPIs and
   * deployers expect.
   */
  async #tar(
    directory: string,
    members: readonly string[],
    target: string,
    content: 'plain' | 'compressed',
  ): Promise<void> {
    const { signal, sourceDateEpoch } = this.#request;
    const archive = join(this.#work, 'archive.tar');
    await this.#runner.run(
      [
        ...(['tar', '-C', directory, '--owner=0', '--group=0', '--numeric-owner', '--mode=0644'] as const),
        ...[`--mtime=@${sourceDateEpoch}`, '-cf', archive, ...members],
      ],
      { timeoutMs: longMs, ...(signal && { signal }) },
    );
    await pipeline(
      createReadStream(archive),
      createGzip({ level: content === 'plain' ? 1 : 0 }),
      createWriteStream(target),
      signal ? { signal } : {},
    );
    await rm(archive);
  }

  async #compress(source: string, target: string): Promise<void> {
    await this.#runner.run(['gzip', '-n', '-1', source], { timeoutMs: longMs });
    await rename(`${source}.gz`, target);
  }
}

export interface ManifestFacts {
  readonly name: string;
  readonly version: string;
  readonly os: string;
  readonly sha1: string;
  readonly sha256: string;
  readonly rootFilesystemSha256: string;
  readonly diskMiB: number;
}

/** `stemcell.MF`. JSON values are YAML: every string is quoted, so that a version stays a string. */
export function stemcellManifest(flavour: Flavour, facts: ManifestFacts): string {
  const cloudProperties: JsonObject = {
    name: facts.name,
    version: facts.version,
    infrastructure: flavour.iaas,
    hypervisor: flavour.hypervisor,
    ...(flavour.kernelPackage === undefined ? {} : { disk: facts.diskMiB + 1 }),
    ...flavour.cloudProperties,
    root_filesystem_sha256: facts.rootFilesystemSha256,
  };
  const fields: JsonObject = {
    name: facts.name,
    version: facts.version,
    bosh_protocol: 1,
    api_version: 3,
    sha1: facts.sha1,
    sha256: facts.sha256,
    operating_system: facts.os,
    stemcell_formats: flavour.stemcellFormats,
    cloud_properties: cloudProperties,
  };
  return `---\n${Object.entries(fields)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join('')}`;
}

async function digestOf(path: string, algorithm: 'sha1' | 'sha256'): Promise<string> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
