import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '@microbosh/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

/** What the original tools left behind is taken over: the VM is replaced, the data is not touched, nothing is lost. */
let simulation: Simulation;

beforeEach(async () => {
  simulation = await Simulation.create();
  await simulation.wish({});
});
afterEach(() => simulation.close());

interface Deployed {
  readonly vm: string;
  readonly disk: string;
  readonly stemcell: string;
}

/** A running deployment whose state of ours is gone. */
async function deployedByOthers(): Promise<Deployed & { readonly state: JsonObject }> {
  const { exitCode, output } = await simulation.run('create');
  expect(exitCode, output).toBe(0);
  const [vm = ''] = simulation.cloud.vms.keys();
  const [disk = ''] = simulation.cloud.disks.keys();
  const [stemcell = ''] = simulation.cloud.stemcells.keys();
  const state = JSON.parse(await readFile(simulation.stateFile, 'utf8')) as JsonObject;
  await rm(simulation.stateFile);
  await rm(`${simulation.stateFile}.d`, { recursive: true });
  return { vm, disk, stemcell, state };
}

async function expectTakenOver(before: Deployed): Promise<void> {
  const { exitCode, output } = await simulation.run('converge');
  expect(exitCode, output).toBe(0);
  const { vms, disks, stemcells, log } = simulation.cloud;
  expect([...vms.keys()], output).toHaveLength(1);
  expect([...vms.keys()], output).not.toContain(before.vm);
  expect([...disks.values()].map(({ data }) => data)).toEqual(['precious']);
  expect([...stemcells.keys()]).toHaveLength(1);
  expect(log).toContain('agent:drain');
  expect(output).toContain('PLAN []');
}

describe('bosh-deployments.yml of the micro plug-in', () => {
  const legacyFile = () => join(simulation.directory, 'bosh-deployments.yml');

  async function writeLegacy({ vm, disk, stemcell }: Deployed, name: string): Promise<string> {
    const text = `---
instances:
- :id: 1
  :name: another
  :uuid: bm-another
  :vm_cid: vm-of-another
- :id: 2
  :name: ${name}
  :uuid: bm-0001
  :stemcell_cid: ${stemcell}
  :stemcell_sha1: abc
  :stemcell_name: bosh-stemcell-1
  :config_sha1: def
  :vm_cid: ${vm}
  :disk_cid: ${disk}
disks: []
registry_instances: []
`;
    await writeFile(legacyFile(), text);
    return text;
  }

  it('is taken over when there is no state, kept, and not taken over again after delete-env', async () => {
    const before = await deployedByOthers();
    const text = await writeLegacy(before, 'sim');

    const planned = await simulation.plan();
    expect(planned).toContainEqual(expect.objectContaining({ kind: 'delete-vm', vmCid: before.vm }));
    expect(existsSync(simulation.stateFile), 'plan changes nothing').toBe(false);

    await expectTakenOver(before);

    const state = JSON.parse(await readFile(simulation.stateFile, 'utf8')) as JsonObject;
    expect(state['director_id']).toBe('bm-0001');
    expect([...simulation.cloud.disks.keys()], 'its size was unknown').not.toContain(before.disk);
    expect(await readFile(legacyFile(), 'utf8')).toBe(text);
    expect((await simulation.run('create')).output).not.toContain('Migrated legacy');

    expect((await simulation.run('delete')).exitCode).toBe(0);
    expect(simulation.cloud.vms.size + simulation.cloud.disks.size + simulation.cloud.stemcells.size).toBe(0);
    const again = await simulation.run('create');
    expect(again.exitCode, again.output).toBe(0);
    expect(again.output).not.toContain('Migrated legacy');
    expect(await readFile(legacyFile(), 'utf8')).toBe(text);
  });

  it('converges when the deployer is killed right after the old VM is gone', async () => {
    const before = await deployedByOthers();
    await writeLegacy(before, 'sim');
    const deletes = await (async () => {
      const copy = simulation.cloud.copy();
      await simulation.run('create');
      const at = simulation.cloud.log.indexOf('delete_vm') + 1;
      simulation.cloud.restore(copy);
      await rm(simulation.stateFile);
      await rm(`${simulation.stateFile}.d`, { recursive: true });
      return at;
    })();

    const killed = await simulation.run('create', { kill: { at: deletes, phase: 'after' } });

    expect(killed.signal, killed.output).toBe('SIGKILL');
    const { exitCode, output } = await simulation.run('converge');
    expect(exitCode, output).toBe(0);
    expect(output).toContain('PLAN []');
    expect([...simulation.cloud.disks.values()].map(({ data }) => data)).toEqual(['precious']);
  });

  it('is deleted without a deploy in between, and then has nothing more to delete', async () => {
    const before = await deployedByOthers();
    const text = await writeLegacy(before, 'sim');

    const { exitCode, output } = await simulation.run('delete');

    expect(exitCode, output).toBe(0);
    expect(output).toContain('Migrated legacy deployments file');
    expect(simulation.cloud.log).toContain('agent:drain');
    expect(simulation.cloud.vms.size + simulation.cloud.disks.size + simulation.cloud.stemcells.size).toBe(0);
    expect(existsSync(simulation.stateFile)).toBe(false);
    expect(await readFile(legacyFile(), 'utf8')).toBe(text);
    expect((await simulation.run('delete')).output).toContain('No deployment state file found.');
    expect(existsSync(`${simulation.stateFile}.d`), 'nothing was opened').toBe(false);
  });

  it('goes on with a deletion that was killed', async () => {
    await writeLegacy(await deployedByOthers(), 'sim');

    const killed = await simulation.run('delete', { kill: { at: 1, phase: 'after' } });

    expect(killed.signal, killed.output).toBe('SIGKILL');
    const { exitCode, output } = await simulation.run('delete');
    expect(exitCode, output).toBe(0);
    expect(simulation.cloud.vms.size + simulation.cloud.disks.size + simulation.cloud.stemcells.size).toBe(0);
  });

  it('is refused, and nothing is touched, when it is not clear which of its deployments is meant', async () => {
    const before = await deployedByOthers();
    await writeLegacy(before, 'renamed');

    for (const action of ['create', 'delete'] as const) {
      const { exitCode, output } = await simulation.run(action);

      expect(exitCode).not.toBe(0);
      expect(output).toContain(
        "records several deployments ('another', 'renamed'), none of them called 'sim'",
      );
      expect(simulation.cloud.log).toEqual([]);
      expect(existsSync(simulation.stateFile)).toBe(false);
    }
  });
});

describe('<name>-state.json', () => {
  it.each([
    ['create-env', (state: JsonObject) => state],
    [
      'bosh-init',
      ({ current_manifest_sha, ...state }: JsonObject) => ({
        ...state,
        current_manifest_sha1: current_manifest_sha ?? '',
      }),
    ],
  ])('of %s is taken over, with what is not known to us', async (_tool, asTheyWrite) => {
    const before = await deployedByOthers();
    const state = Object.fromEntries(Object.entries(before.state).filter(([key]) => key !== 'microbosh'));
    const theirs: JsonObject = { ...asTheyWrite(state), of_a_later_version: { kept: [1, null] } };
    await writeFile(simulation.stateFile, JSON.stringify(theirs, undefined, 4));

    await expectTakenOver(before);

    expect([...simulation.cloud.disks.keys()], 'the disk is as wanted').toEqual([before.disk]);
    const now = JSON.parse(await readFile(simulation.stateFile, 'utf8')) as JsonObject;
    expect(now['of_a_later_version']).toEqual({ kept: [1, null] });
    expect(now['director_id']).toBe(state['director_id']);
    if ('current_manifest_sha1' in theirs) {
      expect(now['current_manifest_sha1']).toBe(theirs['current_manifest_sha1']);
    }
  });
});
