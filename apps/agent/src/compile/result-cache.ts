import { copyFile, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { hashFile } from '../blobstore/blob-manager.ts';

const maxResults = 16;
const maxBytes = 2 ** 30;

/**
 * Results of compilations that went to signed URLs: nobody can be asked whether they are still there. They are named
 * after their inputs and their content, so that one that a power loss cut short is not taken for whole.
 */
export class ResultCache {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** The whole result of these inputs, as a file that stays at least until the next one is kept. */
  async find(key: string): Promise<string | undefined> {
    for (const name of await this.#names()) {
      const [inputs, digest] = name.replace(/\.tgz$/, '').split('-');
      if (inputs !== key) continue;
      const path = join(this.#dir, name);
      if ((await hashFile('sha1', path).catch(() => '')) !== digest) {
        await rm(path, { force: true });
        continue;
      }
      await utimes(path, new Date(), new Date());
      return path;
    }
    return undefined;
  }

  async keep(key: string, tarball: string): Promise<void> {
    const { size } = await stat(tarball);
    if (size > maxBytes / 2) return;
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const name = `${key}-${await hashFile('sha1', tarball)}.tgz`;
    const temporary = join(this.#dir, `.${name}`);
    await copyFile(tarball, temporary);
    await rename(temporary, join(this.#dir, name));
    await this.#makeRoom();
  }

  /** The ones that were asked for longest ago go first. */
  async #makeRoom(): Promise<void> {
    const results = await Promise.all(
      (await this.#names()).map(async (name) => {
        const { size, mtimeMs } = await stat(join(this.#dir, name));
        return { name, size, mtimeMs };
      }),
    );
    let bytes = 0;
    for (const [index, { name, size }] of results.sort((a, b) => b.mtimeMs - a.mtimeMs).entries()) {
      bytes += size;
      if (index >= maxResults || bytes > maxBytes) await rm(join(this.#dir, name), { force: true });
    }
  }

  async #names(): Promise<readonly string[]> {
    const names = await readdir(this.#dir).catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return [];
      throw error;
    });
    return names.filter((name) => !name.startsWith('.'));
  }
}
