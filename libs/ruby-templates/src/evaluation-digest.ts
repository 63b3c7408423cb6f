import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { templateAssets } from './assets.ts';

/** Changes when the same template could render to something else: with another interpreter, or other Ruby around it. */
export async function evaluationDigest(): Promise<string> {
  const { binary, prelude } = templateAssets();
  const [{ size }, ruby] = await Promise.all([stat(binary), readFile(prelude)]);
  return createHash('sha256').update(`${size}\0`).update(ruby).digest('hex');
}
