import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { isJsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import type { CompiledPackages } from '../ports/instance-content.ts';

/**
 * Packages that were compiled on some VM, by what they were compiled from and on: `<folder>/<key>.tgz` with its digest
 * beside it. Shared by all environments of the operator.
 */
export function compiledPackageCache(folder: string): CompiledPackages {
  const pathsOf = (key: string) => ({
    archive: join(folder, `${key}.tgz`),
    digest: join(folder, `${key}.json`),
  });
  return {
    find: async (key) => {
      const paths = pathsOf(key);
      try {
        const record: unknown = JSON.parse(await readFile(paths.digest, 'utf8'));
        const { size } = await stat(paths.archive);
        if (!isJsonObject(record) || typeof record['sha1'] !== 'string' || record['size'] !== size)
          return undefined;
        return { path: paths.archive, sha1: record['sha1'] };
      } catch {
        return undefined;
      }
    },
    keep: async (key, sha1, fill) => {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const paths = pathsOf(key);
      const partial = join(folder, `.${key}.${randomUUID()}.part`);
      try {
        await fill(partial);
        const { size } = await stat(partial);
        await rename(partial, paths.archive);
        // Written last: an archive without it does not exist.
        await writeFileDurably(paths.digest, JSON.stringify({ sha1, size }));
      } finally {
        await rm(partial, { force: true });
      }
    },
  };
}
