import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { OperationalError, errorCode } from '@microbosh/errors';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { deployerCaches } from '../content/deployer-caches.ts';

/** A limit is no number. */
export class CleanUpLimitInvalid extends OperationalError {
  readonly code = 'E_CLEAN_UP_LIMIT_INVALID';
}

interface CachedItem {
  readonly paths: readonly string[];
  readonly bytes: number;
  readonly usedAtMs: number;
}

const defaultAgeDays = 30;
const defaultSizeMiB = 10_240;

/** Bounds the caches that all environments of the operator share: by age, then by size, least recently used first. */
export async function run(
  context: CommandContext,
  _args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const all = flagOption(options, 'all');
  const ageMs = all ? 0 : limit(options, 'maxAge', defaultAgeDays) * 86_400_000;
  const sizeBytes = all ? 0 : limit(options, 'maxSize', defaultSizeMiB) * 2 ** 20;
  const folders = Object.values<string>({ ...deployerCaches(context.env) });
  const items = (await Promise.all(folders.map((folder) => itemsOf(folder)))).flat();
  const doomed = toRemove(items, { now: Date.now(), ageMs, sizeBytes });
  const dryRun = flagOption(options, 'dryRun');
  if (!dryRun) {
    for (const item of doomed) {
      for (const path of item.paths) await rm(path, { recursive: true, force: true });
    }
  }
  const freed = sum(doomed);
  const report = {
    type: 'clean-up',
    removed: doomed.length,
    freed_bytes: freed,
    kept: items.length - doomed.length,
    kept_bytes: sum(items) - freed,
    dry_run: dryRun,
  };
  if (context.global.json) context.console.json(report);
  else {
    context.console.block(
      `${dryRun ? 'Would remove' : 'Removed'} ${report.removed} cached files (${mebibytes(freed)} MiB); ${report.kept} stay (${mebibytes(report.kept_bytes)} MiB).\n`,
    );
  }
  return exitCodes.done;
}

/** Too old, or beyond the size that is kept of the most recently used. */
export function toRemove<T extends CachedItem>(
  items: readonly T[],
  limits: { readonly now: number; readonly ageMs: number; readonly sizeBytes: number },
): T[] {
  let kept = 0;
  return items
    .toSorted((a, b) => b.usedAtMs - a.usedAtMs)
    .filter((item) => {
      const fits = limits.now - item.usedAtMs < limits.ageMs && kept + item.bytes <= limits.sizeBytes;
      if (fits) kept += item.bytes;
      return !fits;
    });
}

/** An archive and the record beside it go together. */
async function itemsOf(folder: string): Promise<CachedItem[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
  const byStem = new Map<string, string[]>();
  for (const name of names) {
    const stem = name.replace(/\.(tgz|json)$/, '');
    byStem.set(stem, [...(byStem.get(stem) ?? []), join(folder, name)]);
  }
  return Promise.all(
    [...byStem.values()].map(async (paths) => {
      const measured = await Promise.all(paths.map((path) => measure(path)));
      return {
        paths,
        bytes: measured.reduce((total, { bytes }) => total + bytes, 0),
        usedAtMs: Math.max(...measured.map(({ usedAtMs }) => usedAtMs)),
      };
    }),
  );
}

async function measure(path: string): Promise<{ readonly bytes: number; readonly usedAtMs: number }> {
  const found = await stat(path);
  const used = { bytes: found.size, usedAtMs: Math.max(found.mtimeMs, found.atimeMs) };
  if (!found.isDirectory()) return used;
  const inner = await Promise.all(
    (await readdir(path, { recursive: true })).map((name) => stat(join(path, name)).catch(() => undefined)),
  );
  return { ...used, bytes: inner.reduce((total, entry) => total + (entry?.size ?? 0), 0) };
}

function limit(options: CommandOptions, name: string, fallback: number): number {
  const text = textOption(options, name);
  if (text === undefined) return fallback;
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new CleanUpLimitInvalid(`'${text}' is not a limit`, { advice: 'Give a whole number.' });
}

function sum(items: readonly CachedItem[]): number {
  return items.reduce((total, { bytes }) => total + bytes, 0);
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
