import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, succeed } from './support/commands.ts';
import type { Finished } from './support/commands.ts';
import { microStemcell } from './support/micro-stemcell.ts';

const address = '10.245.91.10';

describe('bosh micro on the local provider', () => {
  let directory: string;
  let folder: string;
  let stemcell: string;
  let env: Record<string, string>;

  const micro = (...args: string[]): Promise<Finished> =>
    succeed(['bin/microbosh', 'micro', ...args], { env });
  const page = async (port = 8080) => (await fetch(`http://${address}:${port}/`)).text();
  const edit = async (from: string, to: string) => {
    const file = join(folder, 'micro_bosh.yml');
    await writeFile(file, (await readFile(file, 'utf8')).replace(from, to));
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'microbosh-micro-'));
    folder = join(directory, 'greeter');
    await mkdir(folder);
    await mkdir(join(directory, 'home'));
    env = { HOME: join(directory, 'home'), NO_COLOR: '1' };
    stemcell = await microStemcell(directory);
    await writeFile(
      join(folder, 'micro_bosh.yml'),
      `name: greeter
network:
  type: manual
  ip: ${address}
  netmask: 255.255.255.0
  gateway: 10.245.91.1
  dns: []
  cloud_properties: {}
resources:
  persistent_disk: 256
  cloud_properties: {ephemeral_disk: 512}
cloud:
  plugin: local
  properties:
    local: {root_dir: ${join(directory, 'local')}}
apply_spec:
  properties:
    ntp: [first]
readiness:
- url: http://${address}:8080/
  timeout: 60
`,
    );
  });
  afterAll(async () => {
    await run(['bin/microbosh', 'delete-env', join(folder, 'micro_bosh.yml'), '-n'], { env });
    await rm(directory, { recursive: true, force: true });
  });

  it('selects a deployment by its folder', async () => {
    expect((await micro('deployment')).stdout).toBe('Deployment not set\n');

    const { stdout } = await micro('deployment', folder);

    expect(stdout).toContain(`Deployment set to '${folder}/micro_bosh.yml'`);
    expect((await micro('deployment')).stdout).toBe(`Current deployment is '${folder}/micro_bosh.yml'\n`);
    const config = join(directory, 'home/.bosh_deployer_config');
    expect(await readFile(config, 'utf8')).toContain(`target: https://${address}:25555`);
    expect((await stat(config)).mode & 0o777).toBe(0o600);
  });

  it('refuses what does not fit what is there', async () => {
    const update = await run(['bin/microbosh', 'micro', 'deploy', stemcell, '--update'], { env });
    const nothing = await run(['bin/microbosh', 'micro', 'deploy'], { env });
    const typo = await run(['bin/microbosh', 'micro', 'deploy', './stemcel.tgz'], { env });

    expect(update.stderr).toContain('No existing instance to update');
    expect(nothing.stderr).toContain('No stemcell provided');
    expect(typo.stderr).toContain("There is no stemcell './stemcel.tgz'");
    expect([update.exitCode, nothing.exitCode, typo.exitCode]).toEqual([1, 1, 1]);
  });

  it('deploys a micro stemcell: its spec adapted, its templates rendered here', async () => {
    const { stdout } = await micro('deploy', stemcell, '--tty', '-n');

    expect(stdout).toMatch(/Deployed '.*micro_bosh\.yml' to 'https:\/\/10\.245\.91\.10:25555', took 00:0\d:/);
    expect(await page()).toBe(`greeter at ${address} asks first`);
  });

  it('shows it in status and in the list of deployments', async () => {
    const status = (await micro('status')).stdout;
    const deployments = (await micro('deployments')).stdout;

    expect(status).toMatch(/^Stemcell CID {4}\S+$/m);
    expect(status).toMatch(/^VM CID {10}vm-/m);
    expect(status).toContain(`Target          https://${address}:25555`);
    expect(deployments).toMatch(/\| greeter \| vm-\S+ \| microbosh-local-micro-greeting \|/);
    expect(deployments).toContain('Deployments total: 1');
  });

  it('answers for its agent', async () => {
    expect(JSON.parse((await micro('agent', 'state')).stdout)).toMatchObject({ job_state: 'running' });
  });

  it('works with the commands of every other manifest: errands, logs, drift', async () => {
    const manifest = join(folder, 'micro_bosh.yml');
    const follow = start(['bin/microbosh', 'logs', manifest, '--follow'], { env });
    await follow.printed('serving');

    const errand = await succeed(['bin/microbosh', 'run-errand', manifest, 'greeter'], { env });
    await follow.printed('the errand ran');
    follow.process.kill('SIGINT');

    expect((await follow.finished).exitCode).toBe(130);
    expect(errand.stdout).toContain('the errand ran\n');
    expect(errand.stderr).toContain('and complained');
    expect((await run(['bin/microbosh', 'run-errand', manifest, 'other'], { env })).exitCode).toBe(1);

    expect((await run(['bin/microbosh', 'drift', manifest], { env })).exitCode).toBe(0);
    await succeed(['bin/microbosh', 'agent', manifest, 'stop'], { env });
    const drift = await run(['bin/microbosh', 'drift', manifest], { env });
    expect(drift.stdout).toContain("the jobs are 'stopped' and should be 'running'");
    expect(drift.exitCode).toBe(4);
    await succeed(['bin/microbosh', 'agent', manifest, 'start'], { env });
  });

  it('is not created again, and left alone by an update that changes nothing', async () => {
    const again = await run(['bin/microbosh', 'micro', 'deploy', stemcell], { env });
    const { stdout } = await micro('deploy', '--update', '--tty', '-n');

    expect(again.stderr).toContain('Did you mean to --update?');
    expect(stdout).toContain('Stemcell and configuration are unchanged');
  });

  it('applies a changed configuration to the same VM', async () => {
    const vm = /^VM CID +(\S+)$/m.exec((await micro('status')).stdout)?.[1];
    const plan = () =>
      run(['bin/microbosh', 'plan', join(folder, 'micro_bosh.yml'), '--detailed-exitcode'], { env });
    expect((await plan()).exitCode).toBe(0);
    await edit('ntp: [first]', 'ntp: [second]');
    expect((await plan()).exitCode).toBe(2);

    await micro('deploy', '--update-if-exists', '--tty', '-n');

    expect(await page()).toBe(`greeter at ${address} asks second`);
    expect((await micro('status')).stdout).toContain(vm);
  });

  it('applies a spec from a file, and the own one again with the next update', async () => {
    const spec = JSON.parse(await readFile(join(directory, 'stemcell/apply_spec.yml'), 'utf8')) as {
      properties: { greeter: { port: number } };
    };
    spec.properties.greeter.port = 8081;
    await writeFile(join(directory, 'spec.yml'), JSON.stringify(spec));

    await micro('apply', join(directory, 'spec.yml'));
    // The jobs run when it returns; what the spec of a file serves, nobody waited for.
    await expect
      .poll(() => page(8081).catch(String), { timeout: 10_000, interval: 100 })
      .toContain('asks second');

    await micro('deploy', '--update', '--tty', '-n');
    expect(await page()).toContain('asks second');
  });

  it('deletes everything, and says so when there is nothing', async () => {
    expect((await micro('delete', '-n')).stdout).toContain("Deleted deployment 'greeter'");
    expect(existsSync(join(directory, 'local'))).toBe(false);
    expect((await run(['bin/microbosh', 'micro', 'delete'], { env })).stderr).toContain(
      'No existing instance to delete',
    );
  });
});
