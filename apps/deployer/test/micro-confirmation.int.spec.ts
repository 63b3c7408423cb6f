import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CommandModule } from '../src/cli/context.ts';
import * as microDelete from '../src/commands/micro-delete.ts';
import * as microDeploy from '../src/commands/micro-deploy.ts';
import { compose } from '../src/compose.ts';
import { encodeState, newState } from '../src/state/state-document.ts';

const global = { json: false, tty: false, color: false, quiet: true, nonInteractive: false };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'micro-confirmation-'));
  await writeFile(
    join(folder, 'micro_bosh.yml'),
    `name: greeter
network: {type: manual, ip: 10.245.93.10, netmask: 255.255.255.0, gateway: 10.245.93.1, dns: [], cloud_properties: {}}
resources: {persistent_disk: 256, cloud_properties: {ephemeral_disk: 512}}
cloud:
  plugin: local
  properties:
    local: {root_dir: ${join(folder, 'local')}}
`,
  );
});
afterEach(async () => rm(folder, { recursive: true }));

/** On a terminal where somebody answers. */
async function declined(command: CommandModule, args: readonly string[]): Promise<string> {
  let asked = '';
  const { context } = compose(global, process, new AbortController().signal);
  const ask = async (question: string) => {
    asked += question;
    return 'no';
  };
  const options = { deployment: folder, config: join(folder, 'selection.yml') };
  await expect(
    command.run({ ...context, cwd: folder, interactive: true, ask }, args, options),
  ).rejects.toMatchObject({ code: 'E_NOT_CONFIRMED' });
  return asked;
}

describe('micro on a terminal', () => {
  it('deploys nothing when that is declined', async () => {
    expect(await declined(microDeploy, ['image:ami-1'])).toContain(
      "Deploying new micro BOSH instance 'micro_bosh.yml'",
    );
    expect(await readdir(folder)).toEqual(['micro_bosh.yml']);
  });

  it('deletes nothing when that is declined, which is an error as well', async () => {
    const state = { ...newState(), current_vm_cid: 'vm-1' };
    const path = join(folder, 'micro_bosh-state.json');
    await writeFile(path, encodeState(state));
    const asked = await declined(microDelete, []);

    expect(asked).toContain("VM 'vm-1'");
    expect(await readFile(path, 'utf8')).toBe(encodeState(state));
  });
});
