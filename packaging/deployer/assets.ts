/**
 * Takes the place of `libs/ruby-templates/src/assets.ts` and `libs/stemcell-builder/src/library-folder.ts` in a packaged
 * program: its files are beside it, or inside of it.
 */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { getRawAsset, isSea } from 'node:sea';
import { fileURLToPath, pathToFileURL } from 'node:url';

let found: string | undefined;

function folder(): string {
  found ??= isSea() ? unpacked() : join(dirname(fileURLToPath(import.meta.url)), 'assets');
  return found;
}

/** Unpacked once per content, into the cache that clean-up knows. Complete or absent: it is renamed into place. */
function unpacked(): string {
  const archive = Buffer.from(getRawAsset('assets.tgz'));
  const digest = createHash('sha256').update(archive).digest('hex').slice(0, 16);
  const cache = join(process.env['HOME'] ?? homedir(), '.microbosh', 'cache', 'runtime');
  const target = join(cache, digest);
  if (existsSync(target)) return target;
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  const partial = mkdtempSync(join(cache, '.part-'));
  try {
    execFileSync('tar', ['-C', partial, '-xzf', '-'], { input: archive });
    renameSync(partial, target);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    // Another process was faster.
    if (!existsSync(target)) throw error;
  }
  return target;
}

export function templateAssets() {
  return {
    binary: join(folder(), 'ruby.wasm'),
    prelude: join(folder(), 'evaluation.rb'),
    worker: pathToFileURL(join(folder(), 'template-worker.mjs')),
  };
}

export function libraryFolder(): string {
  return join(folder(), 'stemcell-builder');
}
