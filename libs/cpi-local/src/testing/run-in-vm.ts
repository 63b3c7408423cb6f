import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';

/** Runs a shell script inside a VM, in all of its namespaces; ends at the first command that fails. */
export async function runInVm(rootDir: string, vmCid: string, script: string): Promise<string> {
  const record: unknown = JSON.parse(await readFile(join(rootDir, 'vms', vmCid, 'record.json'), 'utf8'));
  const init = isJsonObject(record) && isJsonObject(record['process']) ? record['process']['pid'] : undefined;
  if (typeof init !== 'number') throw new Error(`VM ${vmCid} has no process`);
  const namespaces = ['--mount', '--pid', '--net', '--uts', '--ipc'] as const;
  const { stdout } = await new NodeCommandRunner().run(
    ['nsenter', '--target', String(init), ...namespaces, 'bash', '-ec', script],
    { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
  );
  return stdout.trim();
}
