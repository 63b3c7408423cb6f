import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, readFile, rm, statfs, symlink, access } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { CommandFailed, writeFileDurably, type CommandRunner } from '@microbosh/host';
import type { Applier } from '../apply/applier.ts';
import { isBundleName, type PackageToInstall } from '../apply/spec.ts';
import { everythingBelow, unpack } from '../apply/unpack.ts';
import type { BlobManager, BlobSource } from '../blobstore/blob-manager.ts';
import { ActionError, wrapping } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { TaskContext } from '../tasks/task-manager.ts';
import { ResultCache } from './result-cache.ts';

export interface CompileRequest {
  readonly source: BlobSource;
  readonly name: string;
  readonly version: string;
  readonly dependencies: readonly PackageToInstall[];
}

export interface CompilerOptions {
  readonly layout: Layout;
  readonly blobs: BlobManager;
  readonly applier: Applier;
  readonly runner: CommandRunner;
}

const scriptTimeoutMs = 6 * 3_600_000;
const tailBytes = 10 * 1024;
/** Of each stream in the log; a script that says more is not stopped. */
const maxLogBytes = 256 * 2 ** 20;
const maxRememberedResults = 2_000;

/**
 * Compiles packages. Each build sees a `packages` directory of its own (a private mount): only its dependencies and
 * its own install target are there, so builds run beside each other and beside the jobs that serve.
 */
export class Compiler {
  readonly #options: CompilerOptions;
  readonly #results: ResultCache;
  #indexing: Promise<unknown> = Promise.resolve();

  constructor(options: CompilerOptions) {
    this.#options = options;
    this.#results = new ResultCache(options.layout.compiledResults);
  }

  /** Builds of a process that died. */
  async recover(): Promise<void> {
    await rm(this.#options.layout.compile, { recursive: true, force: true });
  }

  /** Compiles into the blobstore; a result of the same inputs that is still there is answered again. */
  async compile(
    request: CompileRequest,
    context: TaskContext,
  ): Promise<{ readonly blobId: string; readonly sha1: string }> {
    const key = inputDigest(request);
    const known = (await this.#readIndex())[key];
    if (isJsonObject(known) && typeof known.blobstore_id === 'string' && typeof known.sha1 === 'string') {
      if (await this.#options.blobs.has(known.blobstore_id)) {
        return { blobId: known.blobstore_id, sha1: known.sha1 };
      }
    }
    const stored = await this.#build(request, context, (tarball) =>
      wrapping('Uploading compiled package', () => this.#options.blobs.store(tarball, context.signal)),
    );
    await this.#remember(key, { blobstore_id: stored.blobId, sha1: stored.sha1 });
    return stored;
  }

  /** Compiles, unless the result of the same inputs is here, and sends the result to a signed URL; answers its digests. */
  async compileTo(
    request: CompileRequest,
    target: { readonly url: string; readonly headers: Readonly<Record<string, string>> },
    context: TaskContext,
  ): Promise<string> {
    const upload = (tarball: string) =>
      wrapping('Uploading compiled package', () =>
        this.#options.blobs.storeAt(target.url, tarball, target.headers, context.signal),
      );
    const key = inputDigest(request);
    const known = await this.#results.find(key);
    if (known !== undefined) return upload(known);
    return this.#build(request, context, async (tarball) => {
      // Before it is sent: an upload that fails is repeated without compiling.
      await this.#results.keep(key, tarball);
      return upload(tarball);
    });
  }

  async #build<T>(
    request: CompileRequest,
    context: TaskContext,
    use: (tarball: string) => Promise<T>,
  ): Promise<T> {
    const { layout, blobs, applier } = this.#options;
    const { name, source } = request;
    const wrong = [name, ...request.dependencies.map((item) => item.name)].find(
      (item) => !isBundleName(item),
    );
    if (wrong !== undefined)
      throw new ActionError(`'${wrong}' cannot be the name of a package`, { code: 'E_SPEC' });
    if (source.blobId === '' && source.signedUrl === undefined) {
      throw new ActionError(`No blobstore reference for package '${name}'`, { code: 'E_SPEC' });
    }
    const root = join(layout.compile, randomUUID());
    const places = {
      build: join(root, name),
      packages: join(root, 'packages'),
      install: join(root, 'install'),
    };
    try {
      for (const dir of [
        layout.dataPackages,
        layout.packages,
        places.build,
        places.packages,
        places.install,
      ]) {
        await mkdir(dir, { recursive: true, mode: 0o755 });
      }
      await refuseFullDisk(layout.compile);
      const dependencies = await wrapping('Installing dependent packages', () =>
        applier.installPackages(request.dependencies, context),
      );
      for (const [dependency, dir] of dependencies) await symlink(dir, join(places.packages, dependency));
      await symlink(places.install, join(places.packages, name));
      await wrapping('Fetching package source', async () => {
        const blob = await blobs.fetch(source, context.signal);
        try {
          await unpack(blob.path, everythingBelow(places.build), { root, signal: context.signal });
        } finally {
          await blob.dispose();
        }
      });
      context.progress(`compiling ${name}`);
      await wrapping(`Compiling package ${name}`, () => this.#runScript(request, places, context));
      const tarball = join(root, 'result.tgz');
      // Fast: the result travels once and is unpacked often; a smaller one takes four times as long.
      await wrapping('Compressing compiled package', () =>
        this.#options.runner.run(
          ['tar', '-C', places.install, '--use-compress-program=gzip -1', '-cf', tarball, '.'],
          {
            timeoutMs: 3_600_000,
            signal: context.signal,
          },
        ),
      );
      context.progress(`uploading ${name}`);
      return await use(tarball);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  }

  async #runScript(
    request: CompileRequest,
    places: { readonly build: string; readonly packages: string },
    context: TaskContext,
  ): Promise<void> {
    const { layout, runner } = this.#options;
    const script = join(places.build, 'packaging');
    if (
      !(await access(script).then(
        () => true,
        () => false,
      ))
    )
      return;
    const logs = join(layout.logs, 'compilation', request.name);
    await rm(logs, { recursive: true, force: true });
    await mkdir(logs, { recursive: true, mode: 0o750 });
    await chmod(logs, 0o750);
    const streams = {
      stdout: createWriteStream(join(logs, 'packaging.stdout.log'), { mode: 0o640 }),
      stderr: createWriteStream(join(logs, 'packaging.stderr.log'), { mode: 0o640 }),
    };
    const environment = {
      ...inheritedEnvironment(),
      BOSH_COMPILE_TARGET: places.build,
      BOSH_INSTALL_TARGET: join(layout.packages, request.name),
      BOSH_PACKAGE_NAME: request.name,
      BOSH_PACKAGE_VERSION: request.version,
    };
    // Limits: no core files, enough open files, and first to go when memory is short. The private `packages` directory
    // and every process that the script leaves end with its namespaces; those end with this process, however it dies.
    const inside =
      'ulimit -c 0; ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -H -n)"; echo 900 > /proc/self/oom_score_adj; mount --bind "$1" "$2" && cd "$3" && exec bash -x packaging';
    const written = { stdout: 0, stderr: 0 };
    try {
      await runner.run(
        [
          ...(['setpriv', '--pdeathsig', 'KILL', '--', 'nice', '-n', '5'] as const),
          ...[
            'unshare',
            '--mount',
            '--propagation',
            'private',
            '--pid',
            '--fork',
            '--kill-child',
            '--mount-proc',
          ],
          ...['--', 'sh', '-c', inside, 'compile', places.packages, layout.packages, places.build],
        ],
        {
          cwd: places.build,
          env: environment,
          timeoutMs: scriptTimeoutMs,
          maxOutputBytes: tailBytes,
          signal: context.signal,
          onOutput: (stream, chunk) => {
            written[stream] += chunk.length;
            if (written[stream] <= maxLogBytes) streams[stream].write(chunk);
          },
        },
      );
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      const stdout = tail(error.stdout);
      const stderr = tail(error.stderr);
      throw new ActionError(
        `Running packaging script: Running packaging script: Command exited with ${error.exitCode ?? 'a signal'}; ${stdout.cut ? 'Truncated stdout' : 'Stdout'}: ${stdout.text}, ${stderr.cut ? 'Truncated stderr' : 'Stderr'}: ${stderr.text}`,
        { code: 'E_COMPILE', advice: `The whole output is in ${logs} on the VM.` },
      );
    } finally {
      await Promise.all(
        Object.values(streams).map((stream) => new Promise((resolve) => stream.end(resolve))),
      );
    }
  }

  async #readIndex(): Promise<JsonObject> {
    const content = await readFile(this.#options.layout.compiledIndex, 'utf8').catch(() => '{}');
    try {
      const document: unknown = JSON.parse(content);
      return isJsonObject(document) ? document : {};
    } catch {
      // An index only saves work; without it everything is compiled again.
      return {};
    }
  }

  async #remember(key: string, result: JsonObject): Promise<void> {
    const write = async () => {
      const kept = Object.entries(await this.#readIndex()).slice(-(maxRememberedResults - 1));
      const index = { ...Object.fromEntries(kept), [key]: result };
      await writeFileDurably(this.#options.layout.compiledIndex, JSON.stringify(index));
    };
    const previous = this.#indexing;
    this.#indexing = previous.then(write, write);
    await this.#indexing;
  }
}

/** Identity of a compilation: everything that goes in. */
function inputDigest(request: CompileRequest): string {
  const dependencies = request.dependencies
    .map(({ name, version, digest }) => [name, version, digest])
    .sort(([a = ''], [b = '']) => a.localeCompare(b));
  const inputs = [request.name, request.version, request.source.digest, dependencies];
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex');
}

async function refuseFullDisk(path: string): Promise<void> {
  const { blocks, bavail } = await statfs(path);
  if (blocks === 0 || bavail / blocks >= 0.1) return;
  throw new ActionError('Compile Package Failure. Greater than 90% is used', {
    code: 'E_NO_SPACE',
    advice: 'Give the VM a larger ephemeral disk.',
  });
}

/** Keeps what fits, cut at a line. */
function tail(text: string): { readonly text: string; readonly cut: boolean } {
  if (Buffer.byteLength(text) < tailBytes) return { text, cut: false };
  const newline = text.indexOf('\n');
  return { text: newline === -1 ? text : text.slice(newline + 1), cut: true };
}

function inheritedEnvironment(): Record<string, string> {
  const inherited: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !name.startsWith('NODE_')) inherited[name] = value;
  }
  return inherited;
}
