import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync, lstatSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { run } from './commands.ts';
import type { Finished } from './commands.ts';

/** Of this machine's /etc: accounts, and how libraries are found. */
const copied = [
  'passwd',
  'group',
  'shadow',
  'nsswitch.conf',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'alternatives',
];

const searchPath = '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin';

/**
 * A root directory of its own in a mount namespace of its own: the programs of this machine's /usr without Node.js and
 * npm, a small /etc, and nothing else; no checkout, no home. Network and kernel are those of this machine.
 */
export class EmptyRoot {
  readonly directory: string;
  readonly #keeper: ChildProcess;
  readonly #pid: number;

  private constructor(directory: string, keeper: ChildProcess, pid: number) {
    this.directory = directory;
    this.#keeper = keeper;
    this.#pid = pid;
  }

  static async create(): Promise<EmptyRoot> {
    const base = await mkdtemp(join(tmpdir(), 'microbosh-root-'));
    const root = join(base, 'root');
    for (const name of ['usr', 'etc', 'dev', 'proc', 'sys', 'run', 'tmp', 'root', 'opt', 'var/lib']) {
      await mkdir(join(root, name), { recursive: true });
    }
    for (const name of ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']) {
      if (existsSync(`/${name}`) && lstatSync(`/${name}`).isSymbolicLink()) {
        await symlink(readlinkSync(`/${name}`), join(root, name));
      }
    }
    for (const name of copied) {
      if (existsSync(join('/etc', name))) {
        await cp(join('/etc', name), join(root, 'etc', name), { recursive: true, verbatimSymlinks: true });
      }
    }
    await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
    // A whiteout (character device 0/0) hides a name of the layer below.
    const script = `set -e
mount --make-rprivate /
mkdir ${base}/layer
mount -t tmpfs tmpfs ${base}/layer
mkdir -p ${base}/layer/upper/bin ${base}/layer/upper/local/bin ${base}/layer/upper/lib ${base}/layer/work
for name in bin/node bin/nodejs bin/npm bin/npx local/bin/node local/bin/npm lib/node_modules; do
  mknod ${base}/layer/upper/$name c 0 0
done
mount --bind ${root} ${root}
mount -t overlay overlay -o lowerdir=/usr,upperdir=${base}/layer/upper,workdir=${base}/layer/work ${root}/usr
mount --rbind /dev ${root}/dev
mount -t proc proc ${root}/proc
mount --rbind /sys ${root}/sys
mount -t tmpfs tmpfs ${root}/run
mkdir ${root}/outside
cd ${root}
pivot_root . outside
umount -l /outside
rmdir /outside
echo ready
exec sleep 900`;
    const keeper = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    keeper.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const [first] = (await Promise.race([
      once(keeper.stdout, 'data'),
      once(keeper, 'close').then(() => {
        throw new Error(`the root could not be made: ${said}`);
      }),
    ])) as [Buffer];
    if (!first.toString().startsWith('ready')) throw new Error(`the root could not be made: ${said}`);
    return new EmptyRoot(base, keeper, keeper.pid ?? 0);
  }

  /** Path, seen from outside, of a path in it. */
  path(inside: string): string {
    return join(this.directory, 'root', inside);
  }

  /** Runs a program there, with nothing of this process's environment. */
  async run(argv: readonly [string, ...string[]], timeoutMs = 120_000): Promise<Finished> {
    const env = ['env', '-i', '-C', '/root', `PATH=${searchPath}`, 'HOME=/root', 'NO_COLOR=1'];
    return run(['nsenter', `--target=${this.#pid}`, '--mount', '--', ...env, ...argv], { timeoutMs });
  }

  async succeed(argv: readonly [string, ...string[]], timeoutMs?: number): Promise<Finished> {
    const result = await this.run(argv, timeoutMs);
    if (result.exitCode !== 0)
      throw new Error(`${argv.join(' ')} ended with ${result.exitCode}:\n${result.output}`);
    return result;
  }

  async remove(): Promise<void> {
    if (this.#keeper.exitCode === null) {
      const ended = once(this.#keeper, 'close');
      this.#keeper.kill('SIGKILL');
      await ended;
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}
