import { isJsonObject, type Json } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { readJsonObjectIfPresent } from '../platform/files.ts';

/**
 * Disks whose partition table is being written: a disk that was proven empty, by its id and size. It is read after a
 * crash in the middle of that write, when the disk holds a part of a table and nothing else.
 */
export class FormatIntents {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async has(id: string, sizeBytes: number): Promise<boolean> {
    return (await this.#read())[id] === sizeBytes;
  }

  async add(id: string, sizeBytes: number): Promise<void> {
    await this.#write({ ...(await this.#read()), [id]: sizeBytes });
  }

  async remove(id: string): Promise<void> {
    const intents = await this.#read();
    if (!Object.hasOwn(intents, id)) return;
    await this.#write(Object.fromEntries(Object.entries(intents).filter(([key]) => key !== id)));
  }

  async #read(): Promise<Readonly<Record<string, Json>>> {
    const document = await readJsonObjectIfPresent(this.#path);
    return isJsonObject(document) ? document : {};
  }

  async #write(intents: Readonly<Record<string, Json>>): Promise<void> {
    await writeFileDurably(this.#path, JSON.stringify(intents));
  }
}
