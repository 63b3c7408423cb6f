import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from './support/commands.ts';
import { eventually } from './support/eventually.ts';
import { Example } from './support/example.ts';
import { hostSnapshot } from './support/host-snapshot.ts';
import type { HostSnapshot } from './support/host-snapshot.ts';

/** The project's own CPI release takes the way of a stranger's: compiled, rendered, one process per call. */
describe('the example with the CPI of a release', () => {
  let example: Example;
  let before: HostSnapshot;

  beforeAll(async () => {
    example = await Example.create('10.245.87');
    before = await hostSnapshot(example.localRoot);
    await example.edit((text) =>
      text
        .replace('plugin: local\n', 'template: {name: microbosh_local_cpi, release: microbosh-cpi}\n')
        .replace(
          'releases:\n',
          `releases:\n- {name: microbosh-cpi, url: "file://${root}/dist/releases/microbosh-cpi.tgz"}\n`,
        ),
    );
  });
  afterAll(async () => example.tearDown());

  it('comes up with a service that answers', async () => {
    const { stdout } = await example.create();

    expect(stdout).toContain('Started installing CPI');
    expect(stdout).toMatch(/Compiling package 'microbosh-cpi\/.+'\.\.\. Finished/);
    expect(stdout).toMatch(/Installing job 'microbosh_local_cpi'\.\.\. Finished/);
    expect((await example.request('GET', '/healthz')).status).toBe(200);
    expect(await readdir(join(example.directory, 'home/.microbosh/cache/cpi/rendered'))).toEqual([]);
  });

  it('gets a new VM from the CPI that is compiled already, and its disk stays', async () => {
    await example.putSettings('vm-1', '{"kept":true}');
    const { current_vm_cid: vm } = await example.state();

    const { stdout } = await example.create('--recreate');

    expect(stdout).not.toContain("Compiling package 'microbosh-cpi/");
    expect((await example.state()).current_vm_cid).not.toBe(vm);
    expect(await example.getSettings('vm-1')).toBe('{"kept":true}');
  });

  it('leaves nothing behind when it is deleted', async () => {
    await example.delete();

    expect(existsSync(example.stateFile)).toBe(false);
    expect(existsSync(example.localRoot)).toBe(false);
    await eventually(async () => expect(await hostSnapshot(example.localRoot)).toEqual(before));
  });
});
