import { randomUUID } from 'node:crypto';
import { access, mkdir, rm, writeFile } from 'node:fs/promises';
import { join, matchesGlob, relative } from 'node:path';
import { readdir, stat } from 'node:fs/promises';
import type { CommandRunner } from '@microbosh/host';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';

interface LogRoot {
  readonly dir: string;
  /** Prefix of the members in the archive. */
  readonly prefix: string;
}

const maxFiles = 100_000;

/**
 * Packs logs into a tar.gz below `data/tmp`: `job` and `agent` share the archive's root, `system` lies below
 * `var/log/`. Filters are globs below each directory; one that names a directory means all below it.
 */
export async function bundleLogs(
  types: string,
  filters: readonly string[],
  parts: { readonly layout: Layout; readonly runner: CommandRunner; readonly signal?: AbortSignal },
): Promise<string> {
  const { layout } = parts;
  await mkdir(layout.tmp, { recursive: true, mode: 0o755 });
  const tarball = join(layout.tmp, `${tarballPrefix}${randomUUID()}.tgz`);
  const lists: string[] = [];
  const args: string[] = [];
  try {
    for (const root of types.split(',').map((type) => rootOf(type.trim(), layout))) {
      const files = await matchingFiles(root.dir, filters.length === 0 ? ['**/*'] : filters);
      const list = join(layout.tmp, `.${randomUUID()}.list`);
      lists.push(list);
      await writeFile(list, files.map((file) => `./${root.prefix}${file}\0`).join(''), { mode: 0o600 });
      if (files.length === 0) continue;
      // The prefix is the path itself, below `/`.
      args.push('-C', root.prefix === '' ? root.dir : '/', '--null', '--verbatim-files-from', '-T', list);
    }
    const content = args.length === 0 ? ['-T', '/dev/null'] : args;
    await parts.runner.run(['tar', '--ignore-failed-read', '--no-recursion', '-czf', tarball, ...content], {
      timeoutMs: 3_600_000,
      // 1: a file changed while it was read, which logs do.
      okExitCodes: [0, 1],
      ...(parts.signal ? { signal: parts.signal } : {}),
    });
    return tarball;
  } catch (error) {
    await rm(tarball, { force: true });
    throw error;
  } finally {
    for (const list of lists) await rm(list, { force: true });
  }
}

export const tarballPrefix = 'microbosh-logs-';

function rootOf(type: string, layout: Layout): LogRoot {
  if (type === 'job') return { dir: layout.logs, prefix: '' };
  if (type === 'agent') return { dir: join(layout.bosh, 'log'), prefix: '' };
  if (type === 'system') return { dir: '/var/log', prefix: 'var/log/' };
  throw new ActionError(`Invalid log type`, {
    code: 'E_LOG_TYPE',
    details: { type },
    advice: 'It is job, agent or system.',
  });
}

async function matchingFiles(dir: string, filters: readonly string[]): Promise<readonly string[]> {
  if (
    !(await access(dir).then(
      () => true,
      () => false,
    ))
  )
    return [];
  const globs: string[] = [];
  for (const filter of filters) {
    const clean = filter.replace(/^\.?\/+/, '');
    const isDirectory = await stat(join(dir, clean)).then(
      (info) => info.isDirectory(),
      () => false,
    );
    globs.push(isDirectory && clean !== '' ? `${clean.replace(/\/+$/, '')}/**/*` : clean);
  }
  const found: string[] = [];
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = relative(dir, join(entry.parentPath, entry.name));
    // `**/*` leaves out names with a leading dot; the original takes them.
    if (!globs.some((glob) => glob === '**/*' || matchesGlob(path, glob))) continue;
    found.push(path);
    if (found.length > maxFiles) throw new ActionError('Too many log files match', { code: 'E_LOGS' });
  }
  return found.sort();
}
