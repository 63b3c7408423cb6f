import { randomUUID } from 'node:crypto';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, matchesGlob, relative } from 'node:path';
import { readdir, stat } from 'node:fs/promises';
import { CommandFailed, type CommandRunner } from '@microbosh/host';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';

interface LogRoot {
  readonly dir: string;
  /** Prefix of the members in the archive. */
  readonly prefix: string;
}

const maxFiles = 100_000;
/** Of the agent's journal: its end. */
const maxJournalBytes = 20 * 1024 * 1024;
/** After which a bundle is no longer waited for. */
const maxBundleAgeMs = 24 * 3_600_000;
const journalFile = 'microbosh-agent.journal.log';

/**
 * Packs logs into a tar.gz below `data/tmp`: `job` and `agent` share the archive's root, `system` lies below
 * `var/log/`. Filters are globs below each directory; one that names a directory means all below it.
 * An agent that logs to the journal has no file of its own: the end of its journal takes the place of one.
 */
export async function bundleLogs(
  types: string,
  filters: readonly string[],
  parts: { readonly layout: Layout; readonly runner: CommandRunner; readonly signal?: AbortSignal },
): Promise<string> {
  const { layout } = parts;
  await mkdir(layout.tmp, { recursive: true, mode: 0o755 });
  await removeOldBundles(layout.tmp);
  const tarball = join(layout.tmp, `${tarballPrefix}${randomUUID()}.tgz`);
  const scratch: string[] = [];
  const args: string[] = [];
  const wanted = filters.length === 0 ? ['**/*'] : filters;
  try {
    for (const type of types.split(',').map((each) => each.trim())) {
      let root = rootOf(type, layout);
      if (type === 'agent' && (await matchingFiles(root.dir, ['**/*'])).length === 0) {
        const dir = await mkdtemp(join(layout.tmp, '.journal-'));
        scratch.push(dir);
        await writeJournal(dir, parts);
        root = { dir, prefix: '' };
      }
      const files = await matchingFiles(root.dir, wanted);
      const list = join(layout.tmp, `.${randomUUID()}.list`);
      scratch.push(list);
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
    for (const path of scratch) await rm(path, { recursive: true, force: true });
  }
}

export const tarballPrefix = 'microbosh-logs-';

async function removeOldBundles(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    const path = join(dir, name);
    if (!name.startsWith(tarballPrefix)) continue;
    const found = await stat(path).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > maxBundleAgeMs) await rm(path, { force: true });
  }
}

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

/** Nothing on a machine without systemd. */
async function writeJournal(
  dir: string,
  { runner, signal }: { readonly runner: CommandRunner; readonly signal?: AbortSignal },
): Promise<void> {
  const argv = [
    'journalctl',
    '--quiet',
    '--no-pager',
    '--output=short-iso',
    '--unit=microbosh-agent',
  ] as const;
  try {
    const { stdout } = await runner.run([...argv], {
      timeoutMs: 60_000,
      maxOutputBytes: maxJournalBytes,
      ...(signal ? { signal } : {}),
    });
    if (stdout !== '') await writeFile(join(dir, journalFile), stdout, { mode: 0o600 });
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof CommandFailed)) throw error;
    // Its reason is what the reader needs where the log should be; an absent program has none.
    if (!error.message.includes('ENOENT'))
      await writeFile(join(dir, journalFile), `${error.message}\n`, { mode: 0o600 });
  }
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
