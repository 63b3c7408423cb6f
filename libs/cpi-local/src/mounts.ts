import { readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { LocalResourceBusy } from './local-errors.ts';

export interface MountEntry {
  /** `major:minor` of the device. */
  readonly device: string;
  readonly mountPoint: string;
  readonly fsType: string;
}

/** Parses /proc/<pid>/mountinfo. */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-');
    const [device, mountPoint, fsType] = [fields[2], fields[4], fields[separator + 1]];
    if (separator < 6 || device === undefined || mountPoint === undefined || fsType === undefined) continue;
    entries.push({ device, mountPoint: unescapePath(mountPoint), fsType });
  }
  return entries;
}

function unescapePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Mounts of a process's namespace; empty when the process is gone. */
export async function mountsOf(pid: number | 'self'): Promise<MountEntry[]> {
  try {
    return parseMountInfo(await readFile(`/proc/${pid}/mountinfo`, 'utf8'));
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EINVAL' || errorCode(error) === 'ESRCH')
      return [];
    throw error;
  }
}

/**
 * Removes a tree, and only it: refuses while anything is mounted at or below it in our mount namespace, and while a
 * directory below belongs to another file system. Missing is done.
 */
export async function removeTree(path: string): Promise<void> {
  const below = (await mountsOf('self')).filter(
    ({ mountPoint }) => mountPoint === path || mountPoint.startsWith(`${path}/`),
  );
  if (below.length > 0) {
    throw new LocalResourceBusy(
      `${path} is not removed: ${below.map((mount) => mount.mountPoint).join(', ')} is still mounted`,
      { advice: 'Unmount it and run the command again.' },
    );
  }
  const device = await deviceOf(path);
  if (device === undefined) return;
  await assertOneFileSystem(path, device);
  await rm(path, { recursive: true, force: true });
}

async function deviceOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function assertOneFileSystem(path: string, device: number): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const child = join(path, entry.name);
    if ((await deviceOf(child)) !== device) {
      throw new LocalResourceBusy(`${path} is not removed: ${child} is on another file system`, {
        advice: 'Unmount it and run the command again.',
      });
    }
    await assertOneFileSystem(child, device);
  }
}
