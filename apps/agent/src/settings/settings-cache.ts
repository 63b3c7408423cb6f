import type { JsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { chmod } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { readJsonObjectIfPresent, statIfPresent } from '../platform/files.ts';

/** The last good settings document, for the time when its source is away. 0600: it holds credentials. */
export class SettingsCache {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<JsonObject | undefined> {
    return readJsonObjectIfPresent(this.#path);
  }

  /** False when the file already holds the document. */
  async write(document: JsonObject): Promise<boolean> {
    const held = await this.read();
    if (held !== undefined && isDeepStrictEqual(held, document)) {
      // An agent of another make leaves it readable for all.
      const mode = (await statIfPresent(this.#path))?.mode ?? 0;
      if ((mode & 0o777) === 0o600) return false;
      await chmod(this.#path, 0o600);
      return true;
    }
    await writeFileDurably(this.#path, JSON.stringify(document));
    return true;
  }
}
