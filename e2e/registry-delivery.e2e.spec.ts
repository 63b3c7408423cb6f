import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Example } from './support/example.ts';
import { VmView } from './support/vm-view.ts';

interface UserData {
  readonly agent_id?: string;
  readonly registry?: { readonly endpoint: string; readonly ca: string };
}

describe('settings of a VM', () => {
  let example: Example;

  beforeAll(async () => {
    example = await Example.create('10.245.87');
  });
  afterAll(async () => example.tearDown());

  const fileOfVm = async (path: string) => {
    const { initPid } = await VmView.of(example);
    return join(`/proc/${initPid}/root/var/vcap/bosh`, path);
  };
  const userData = async () =>
    JSON.parse(await readFile(await fileOfVm('user-data.json'), 'utf8')) as UserData;

  it('come with the user data when the operator says --no-registry', async () => {
    const { stdout } = await example.create('--no-registry');
    const path = await fileOfVm('user-data.json');

    expect(stdout).not.toContain('Starting registry');
    expect((await userData()).agent_id).toBeTruthy();
    expect((await userData()).registry).toBeUndefined();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(existsSync(join(`${example.stateFile}.d`, 'registry.sqlite'))).toBe(false);
  });

  it('come over TLS from a registry with a token of its own when nothing else is said', async () => {
    const { stdout } = await example.create('--recreate');
    const { registry, agent_id: inUserData } = await userData();
    const cached = await fileOfVm('settings.json');
    const settings = JSON.parse(await readFile(cached, 'utf8')) as { agent_id: string };
    const state = await readFile(example.stateFile, 'utf8');
    const { registry: ours } = (
      JSON.parse(state) as { microbosh: { registry: { password: string; ca: string } } }
    ).microbosh;
    const endpoint = new URL(registry?.endpoint ?? '');

    expect(stdout).toContain('Starting registry');
    expect(inUserData).toBeUndefined();
    expect(endpoint.protocol).toBe('https:');
    expect(endpoint.username).toBe((await example.state()).current_vm_cid);
    expect(endpoint.password).toMatch(/^mbt_/);
    expect(endpoint.password).not.toBe(ours.password);
    expect(registry?.ca).toBe(ours.ca);
    expect(settings.agent_id).toBeTruthy();
    expect((await stat(cached)).mode & 0o777).toBe(0o600);
  });
});
