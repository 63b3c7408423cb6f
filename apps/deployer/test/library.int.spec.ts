// As a program that uses the library imports it.
/* eslint-disable @nx/enforce-module-boundaries */
import { readFile, writeFile } from 'node:fs/promises';
import { createEnv, deleteEnv, EventBus, plan } from '@microbosh/deployer';
import type { DeployEvent } from '@microbosh/deployer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

let simulation: Simulation;

beforeEach(async () => {
  simulation = await Simulation.create();
  await simulation.wish({});
});
afterEach(async () => simulation.close());

describe('the deployer as a library', () => {
  it('plans, deploys and deletes with the events of the command line', async () => {
    const seen: DeployEvent[] = [];
    const events = new EventBus();
    events.subscribe((event) => seen.push(event));
    const options = { ...simulation.asLibrary(), events };

    const { steps } = await plan(options);
    expect(steps[0]).toMatchObject({ kind: 'create-stemcell' });
    expect(await createEnv(options)).toBe('deployed');
    expect(await createEnv(options)).toBe('unchanged');
    await simulation.wish({ job: '2' });
    expect((await plan(options)).changes).toEqual([
      { path: '/instance_groups/name=g/properties/version', change: 'changed' },
    ]);

    const names = seen.flatMap((event) => (event.type === 'started' ? [event.name] : []));
    expect(names).toContain('deploying');
    expect(names).toContain('Creating disk');
    expect(simulation.cloud.vms.size).toBe(1);
    await deleteEnv(options);
    expect(simulation.cloud.vms.size + simulation.cloud.disks.size).toBe(0);
  });

  it('has registry and tunnel up while it deletes, too', async () => {
    const { manifest, dependencies } = simulation.asLibrary();
    const tunnel = '  ssh_tunnel: {host: 127.0.0.1, port: 1, user: vcap, password: secret}\n';
    await writeFile(
      manifest,
      (await readFile(manifest, 'utf8')).replace('  plugin: local\n', `  plugin: local\n${tunnel}`),
    );
    const told = async (command: typeof createEnv | typeof deleteEnv) => {
      const events = new EventBus();
      const names: string[] = [];
      events.subscribe((event) => {
        if (event.type === 'started') names.push(event.name);
        if (event.type === 'message' && event.text.startsWith('SSH tunnel')) names.push('tunnel');
      });
      await command({ manifest, dependencies, events });
      return names;
    };

    for (const command of [createEnv, deleteEnv]) {
      const names = await told(command);
      expect(names).toContain('Starting registry');
      expect(names).toContain('tunnel');
    }
  });

  it('ends at a safe point when its signal is aborted', async () => {
    const abort = new AbortController();
    simulation.cloud.onChange = (change) => (change === 2 ? abort.abort() : undefined);

    await expect(createEnv({ ...simulation.asLibrary(), signal: abort.signal })).rejects.toMatchObject({
      code: 'E_CANCELLED',
    });
    expect((await simulation.here('converge')).output).toContain('PLAN []');
  });
});
