import { errorCode } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { chmod, chown, mkdir, readFile, readlink, rename, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import type { Change } from '../bootstrap/step.ts';
import { statIfPresent } from './files.ts';

export interface Ownership {
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** Changes that make `path` a directory with this mode and owner. Parents that are missing are made 0755. */
export async function wantDirectory(path: string, want: Ownership): Promise<readonly Change[]> {
  const found = await statIfPresent(path);
  if (found === undefined) {
    return [
      {
        what: `make directory ${path}`,
        apply: async () => {
          await mkdir(path, { recursive: true });
          await setOwnership(path, want);
        },
      },
    ];
  }
  return wantOwnership(path, want);
}

/** Changes that give an existing entry this mode and owner. */
export async function wantOwnership(path: string, want: Ownership): Promise<readonly Change[]> {
  const found = await statIfPresent(path);
  if (found === undefined) return [];
  const same =
    (found.mode & 0o7777) === want.mode && found.uid === (want.uid ?? 0) && found.gid === (want.gid ?? 0);
  if (same) return [];
  return [
    { what: `set mode ${want.mode.toString(8)} and owner of ${path}`, apply: () => setOwnership(path, want) },
  ];
}

/** Changes that make `path` a file with exactly this content, mode and owner. The content is not named in the report. */
export async function wantFile(path: string, content: string, want: Ownership): Promise<readonly Change[]> {
  let held: string | undefined;
  try {
    held = await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  if (held === content) return wantOwnership(path, want);
  return [
    {
      what: `write ${path}`,
      apply: async () => {
        await mkdir(dirname(path), { recursive: true });
        await writeFileDurably(path, content, { mode: want.mode });
        await setOwnership(path, want);
      },
    },
  ];
}

/** Changes that make `path` a link to `target`; whatever else stands there must be a link too, nothing is deleted. */
export async function wantLink(path: string, target: string): Promise<readonly Change[]> {
  try {
    if ((await readlink(path)) === target) return [];
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  return [{ what: `link ${path} to ${target}`, apply: () => replaceLink(path, target) }];
}

async function replaceLink(path: string, target: string): Promise<void> {
  const temporary = join(dirname(path), `.link-${randomBytes(6).toString('hex')}`);
  await mkdir(dirname(path), { recursive: true });
  await symlink(target, temporary);
  await rename(temporary, path);
}

async function setOwnership(path: string, want: Ownership): Promise<void> {
  // Owner first: changing it clears the set-id bits.
  await chown(path, want.uid ?? 0, want.gid ?? 0);
  await chmod(path, want.mode);
}
