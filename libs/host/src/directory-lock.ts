import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { errorCode, OperationalError } from '@microbosh/errors';

const waitSeconds = 120;

/** Another call holds the lock of the directory for too long. */
export class DirectoryLocked extends OperationalError {
  readonly code = 'E_DIRECTORY_LOCKED';
  override readonly retryable = true;
}

/** The lock needs a program that is missing on this machine. */
export class LockToolMissing extends OperationalError {
  readonly code = 'E_LOCK_TOOL_MISSING';
}

/**
 * Runs `work` while this call alone holds the lock of `directory` on this machine. The lock is held by a child
 * (`flock … cat`) that ends with our end of its standard input, so a killed process never leaves it behind, and no lock
 * file is needed. The directory is made when it is missing.
 */
export async function withDirectoryLock<T>(
  directory: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const holder = await acquire(directory, signal);
  try {
    return await work();
  } finally {
    const closed = once(holder, 'close');
    holder.stdin?.end();
    await closed;
  }
}

async function acquire(directory: string, signal: AbortSignal | undefined): Promise<ChildProcess> {
  for (;;) {
    signal?.throwIfAborted();
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const holder = await startHolder(directory, signal);
    if (holder !== undefined && (await holdsPresentDirectory(holder, directory))) return holder;
    holder?.stdin?.end();
    if (holder !== undefined) await once(holder, 'close');
  }
}

/** Undefined when the directory vanished before it could be opened. */
async function startHolder(
  directory: string,
  signal: AbortSignal | undefined,
): Promise<ChildProcess | undefined> {
  const holder = spawn('flock', ['--no-fork', '--wait', String(waitSeconds), directory, 'cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    ...(signal && { signal }),
  });
  holder.stdin.on('error', () => undefined);
  holder.stdin.write('.');
  const outcome = await new Promise<'held' | number | Error>((resolve) => {
    holder.once('error', (error) => resolve(error));
    holder.stdout.once('data', () => resolve('held'));
    holder.once('close', (code) => resolve(code ?? 1));
  });
  if (outcome === 'held') return holder;
  if (outcome instanceof Error) {
    signal?.throwIfAborted();
    throw new LockToolMissing("The program 'flock' cannot be started", {
      cause: outcome,
      advice: 'Install the package util-linux.',
    });
  }
  if (outcome === 1) {
    throw new DirectoryLocked(`Another call has worked on ${directory} for more than ${waitSeconds} s`, {
      advice: `See who holds it with: fuser -v ${directory}`,
    });
  }
  return undefined;
}

/** The directory may have been removed and made again while we waited; then the lock is one of the old directory. */
async function holdsPresentDirectory(holder: ChildProcess, directory: string): Promise<boolean> {
  try {
    const present = await stat(directory);
    const descriptors = `/proc/${holder.pid}/fd`;
    for (const name of await readdir(descriptors)) {
      const open = await stat(`${descriptors}/${name}`);
      if (open.ino === present.ino && open.dev === present.dev) return true;
    }
    return false;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
