import { chmod, lchown, lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Group id of `vcap`; undefined where there is no such group (a plain machine, tests). */
export async function vcapGroup(): Promise<number | undefined> {
  const groups = await readFile('/etc/group', 'utf8').catch(() => '');
  const line = groups.split('\n').find((entry) => entry.startsWith('vcap:'));
  const gid = line?.split(':')[2];
  return gid === undefined ? undefined : Number(gid);
}

/** Gives a path to root:vcap, where both exist and we may. */
export async function giveToVcap(path: string, gid: number | undefined): Promise<void> {
  if (gid !== undefined && process.getuid?.() === 0) await lchown(path, 0, gid);
}

/** A job's files: directories 0750, files in `bin/` 0750, others 0640, all root:vcap. */
export async function fixJobPermissions(dir: string, gid: number | undefined): Promise<void> {
  const visit = async (path: string, inBin: boolean): Promise<void> => {
    const info = await lstat(path);
    await giveToVcap(path, gid);
    if (info.isDirectory()) {
      await chmod(path, 0o750);
      for (const name of await readdir(path)) {
        await visit(join(path, name), inBin || (path === dir && name === 'bin'));
      }
    } else if (info.isFile()) await chmod(path, inBin ? 0o750 : 0o640);
  };
  await visit(dir, false);
}
