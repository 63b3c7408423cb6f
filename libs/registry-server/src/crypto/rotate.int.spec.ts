import { chmodSync, chownSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readKeyFile, readOrMakeKeyFile } from './key-file.ts';
import { activateKey, addKey, retireKeys } from './rotate.ts';

const reason = process.getuid?.() === 0 ? '' : '(giving a file to somebody needs root)';
const [uid, gid] = [12_345, 23_456];

describe('a key file of the service user that root rotates', () => {
  let directory = '';
  let path = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'microbosh-rotate-'));
    path = join(directory, 'registry.key');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const looks = (file: string) => {
    const { uid: owner, gid: group, mode } = statSync(file);
    return [owner, group, (mode & 0o777).toString(8)];
  };

  it.skipIf(reason !== '')(`keeps its owner, group and mode at every step ${reason}`, async () => {
    const { active: first } = await readOrMakeKeyFile(path, 0);
    chownSync(path, uid, gid);
    chmodSync(path, 0o400);
    const expected = [uid, gid, '400'];

    const { added } = await addKey(path, 1_000, { prepareOnly: true });
    expect(looks(path)).toEqual(expected);
    await activateKey(path, added);
    expect(looks(path)).toEqual(expected);
    expect(await retireKeys(path)).toEqual([first]);

    expect(looks(path)).toEqual(expected);
    // The keys that have left are as secret, and are needed by the same user.
    expect(looks(`${path}.retired`)).toEqual(expected);
    expect((await readKeyFile(path)).active).toBe(added);
  });
});
