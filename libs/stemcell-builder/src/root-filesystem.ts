import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { readAptConfiguration } from './apt-configuration.ts';
import type { Flavour } from './flavour.ts';
import { libraryFolder } from './library-folder.ts';
import { packagesFor } from './packages.ts';

const library = libraryFolder();
const timeoutMs = 60 * 60_000;

export interface RootFilesystemRequest {
  readonly flavour: Flavour;
  /** Code name of the Debian release. */
  readonly suite: string;
  readonly compilers: boolean;
  /** Seconds; no file is younger. */
  readonly sourceDateEpoch: number;
  /** Where finished archives are kept by the digest of their inputs; undefined: build anew. */
  readonly cacheDirectory?: string;
  /** The part of its work that mmdebstrap is at. */
  readonly onProgress: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** Builds the tar of a Debian root file system, without the agent. As root, or in a user namespace as anybody else. */
export async function buildRootFilesystem(
  runner: CommandRunner,
  request: RootFilesystemRequest,
  target: string,
): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-rootfs-'));
  try {
    const packages = packagesFor(request.flavour, request.compilers);
    const apt = await readAptConfiguration(runner);
    const aptOptions = join(work, 'apt.conf');
    await writeFile(aptOptions, `${apt.acquireOptions.join('\n')}\n`, { mode: 0o644 });
    const customize = await readFile(join(library, 'customize.sh'));
    const key = createHash('sha256');
    for (const part of [request.suite, packages.join(), request.flavour.initramfsModules.join(), customize]) {
      key.update(part).update('\0');
    }
    key.update(`${request.sourceDateEpoch}\0`);
    const { overlay } = request.flavour;
    const overlays = overlay === undefined ? ['overlay'] : ['overlay', overlay];
    for (const folder of overlays) key.update(await digestOfTree(join(library, folder)));
    for (const file of apt.sourceFiles) key.update(await readFile(file));
    const cached =
      request.cacheDirectory === undefined
        ? undefined
        : join(request.cacheDirectory, `rootfs-${key.digest('hex').slice(0, 24)}.tar`);
    if (cached !== undefined && (await exists(cached))) {
      request.onProgress('taken from the cache');
      await runner.run(['cp', '--reflink=auto', cached, target], { timeoutMs });
      return;
    }
    for (const folder of overlays) await packOverlay(runner, request.sourceDateEpoch, folder, work);
    await writeFile(join(work, 'customize.sh'), customize, { mode: 0o644 });
    // In a user namespace the hooks run as somebody who cannot look into a private directory.
    await runner.run(['chmod', '755', work]);
    await runner.run(
      [
        'mmdebstrap',
        `--mode=${process.getuid?.() === 0 ? 'root' : 'unshare'}`,
        '--variant=minbase',
        '--format=tar',
        `--aptopt=${aptOptions}`,
        '--aptopt=Apt::Install-Recommends "false"',
        '--dpkgopt=path-exclude=/usr/share/man/*',
        '--dpkgopt=path-exclude=/usr/share/locale/*',
        '--dpkgopt=path-exclude=/usr/share/info/*',
        '--dpkgopt=path-exclude=/usr/share/doc/*',
        '--dpkgopt=path-include=/usr/share/doc/*/copyright',
        `--include=${packages.join()}`,
        ...overlays.map(
          (folder) =>
            `--customize-hook=tar -C "$1" --no-same-owner --no-overwrite-dir -xpf - <${work}/${folder}.tar`,
        ),
        `--customize-hook=cp ${work}/customize.sh "$1/tmp/customize.sh"`,
        `--customize-hook=chroot "$1" sh /tmp/customize.sh "${request.flavour.initramfsModules.join(' ')}"`,
        '--customize-hook=rm "$1/tmp/customize.sh"',
        request.suite,
        `${target}.part`,
        ...apt.sourceFiles,
      ],
      {
        env: {
          PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
          TMPDIR: tmpdir(),
          SOURCE_DATE_EPOCH: String(request.sourceDateEpoch),
          ...(process.env['http_proxy'] && { http_proxy: process.env['http_proxy'] }),
        },
        timeoutMs,
        ...(request.signal && { signal: request.signal }),
        onOutput: (_stream, chunk) => {
          for (const line of chunk.toString('utf8').split('\n')) {
            const message = /^I: (.*?)(\.\.\.)?$/.exec(line)?.[1];
            if (message !== undefined) request.onProgress(message);
          }
        },
      },
    );
    await rename(`${target}.part`, target);
    if (cached !== undefined && request.cacheDirectory !== undefined) {
      await mkdir(request.cacheDirectory, { recursive: true });
      await runner.run(['cp', '--reflink=auto', target, `${cached}.part`], { timeoutMs });
      await rename(`${cached}.part`, cached);
    }
  } finally {
    await rm(work, { recursive: true, force: true });
    await rm(`${target}.part`, { force: true });
  }
}

/** Owners and modes do not depend on the checkout: everything belongs to root, is readable by all, keeps its x bit. */
async function packOverlay(
  runner: CommandRunner,
  epoch: number,
  folder: string,
  work: string,
): Promise<void> {
  const target = join(work, `${folder}.tar`);
  await runner.run([
    'tar',
    '-C',
    join(library, folder),
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--sort=name',
    `--mtime=@${epoch}`,
    '--mode=u=rwX,go=rX',
    '-cf',
    target,
    '.',
  ]);
  await runner.run(['chmod', '644', target]);
}

async function digestOfTree(directory: string): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort()) {
    const executable = ((await stat(file)).mode & 0o100) !== 0;
    hash.update(`${file.slice(directory.length)}\0${executable}\0`).update(await readFile(file));
  }
  return hash.digest('hex');
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
