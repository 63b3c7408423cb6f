import { ok } from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';

const runner = new NodeCommandRunner();

/** The file `env` of an image, read by a program that is not ours. */
export async function contentOfIso(image: Buffer): Promise<JsonObject> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-iso-'));
  try {
    const [file, copy] = [join(work, 'env.iso'), join(work, 'env')];
    await writeFile(file, image);
    await runner.run(['xorriso', '-osirrox', 'on', '-indev', file, '-extract', '/ENV', copy]);
    const value: unknown = JSON.parse(await readFile(copy, 'utf8'));
    ok(isJsonObject(value));
    return value;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
