import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordedCloud } from '../engine/delete-env.ts';
import { compose } from '../compose.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';
import { checkCloud, cloudOpener } from './open-cloud.ts';

const global = { json: false, tty: false, color: false, quiet: true, nonInteractive: true };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'external-cpi-'));
});
afterEach(async () => rm(folder, { recursive: true }));

/** Knows one VM, and notes what it was asked; as those of micro's time, it has no `info`. */
const script = `#!/bin/sh
read -r request
printf '%s %s\\n' "$#" "$request" >>"$(dirname "$0")/asked"
case "$request" in
  *'"info"'*) printf '{"result":null,"error":{"type":"Bosh::Clouds::NotImplemented","message":"no","ok_to_retry":false},"log":""}' ;;
  *'"has_vm"'*'"vm-1"'*) printf '{"result":true,"error":null,"log":"looked"}' ;;
  *) printf '{"result":false,"error":null,"log":""}' ;;
esac
`;

describe('an executable as the CPI (cloud.provider.path of micro)', () => {
  it('is asked in place of the plug-in, one process per call, and its log is kept', async () => {
    const executable = join(folder, 'cpi');
    await writeFile(executable, script);
    await chmod(executable, 0o755);
    // As a delete-env finds it that cannot evaluate the manifest any more.
    const cloud = recordedCloud({ kind: 'built-in', plugin: 'vsphere', executable, properties: {} });
    const { context } = compose(global, process, new AbortController().signal);
    const paths = environmentPaths(join(folder, 'm.yml'), undefined, folder);
    const store = await StateStore.open(paths);

    await checkCloud(cloud);
    const open = cloudOpener({ downloads: folder, cpi: folder, rendered: folder });
    const cpi = await open(cloud, { agent: {}, registry: undefined }, store, context);
    const call = { directorUuid: 'd', requestId: 'r', stemcellApiVersion: 1 };
    const found = [await cpi.hasVm(call, 'vm-1'), await cpi.hasVm(call, 'vm-2')];
    await cpi.dispose?.();

    expect(found).toEqual([true, false]);
    const asked = (await readFile(join(folder, 'asked'), 'utf8')).trimEnd().split('\n');
    expect(asked.map((line) => /^0 .*"method":"(\w+)"/.exec(line)?.[1])).toEqual([
      'info',
      'has_vm',
      'has_vm',
    ]);
    expect(await readFile(paths.cpiLog, 'utf8')).toContain('looked');
  });

  it('is refused before anything is done when it cannot be run', async () => {
    const executable = join(folder, 'absent');

    await expect(
      checkCloud({ kind: 'built-in', plugin: 'aws', executable, properties: {} }),
    ).rejects.toMatchObject({
      code: 'E_UNKNOWN_PROVIDER',
      message: expect.stringContaining('cloud.provider.path') as string,
    });
  });
});
