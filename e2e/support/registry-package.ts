import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { root, succeed } from './commands.ts';

/** The .deb of the registry, made again only when what goes into it has changed; answers its path. */
export async function registryPackage(): Promise<string> {
  const built = join(root, 'dist/registry/microbosh-registry.deb');
  const inputs = await Promise.all(
    ['dist/registry/program', 'packaging/registry'].map(async (directory) => {
      const names = await readdir(join(root, directory));
      return Promise.all(names.map((name) => changedAt(join(root, directory, name))));
    }),
  );
  if ((await changedAt(built)) < Math.max(...inputs.flat())) {
    await succeed(['packaging/registry/build'], { timeoutMs: 120_000 });
  }
  return built;
}

async function changedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
