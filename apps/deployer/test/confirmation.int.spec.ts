import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compose } from '../src/compose.ts';
import { deleteEnv } from '../src/engine/delete-env.ts';
import { environmentPaths } from '../src/state/environment-paths.ts';
import { Simulation } from './simulation.ts';

const global = { json: false, tty: false, color: false, quiet: true, nonInteractive: false };
let simulation: Simulation;

beforeEach(async () => {
  simulation = await Simulation.create();
  await simulation.wish({});
  const { exitCode, output } = await simulation.here('create');
  expect(exitCode, output).toBe(0);
});
afterEach(async () => simulation.close());

/** delete-env on a terminal where somebody answers. */
async function deleteWith(answer: string, state?: string, manifest = 'm.yml'): Promise<string> {
  let asked = '';
  const { context } = compose(global, process, new AbortController().signal);
  await deleteEnv({
    ...simulation.asLibrary(),
    context: {
      ...context,
      interactive: true,
      ask: async (question) => {
        asked += question;
        return answer;
      },
    },
    manifest: join(simulation.directory, manifest),
    paths: environmentPaths(join(simulation.directory, manifest), state, simulation.directory),
    inputs: { var: [], varFile: [], varsFile: [], varsEnv: [], opsFile: [] },
    keepDisk: false,
    skipDrain: false,
  });
  return asked;
}

describe('delete-env without a state file', () => {
  it.each([
    ['elsewhere', 'typo.json', 'm.yml', 'there is one beside the manifest'],
    ['in no folder', 'typo/state.json', 'm.yml', 'its folder does not exist'],
    ['of no manifest', undefined, 'typo.yml', "neither is there a manifest '"],
  ])('is an error where the path cannot be right: %s', async (_what, state, manifest, problem) => {
    await expect(deleteWith('yes', state, manifest)).rejects.toMatchObject({
      code: 'E_STATE_ABSENT',
      message: expect.stringContaining(problem) as string,
    });

    expect(simulation.cloud.vms.size).toBe(1);
  });

  it('is success where it was deleted before', async () => {
    await deleteWith('yes');

    expect(await deleteWith('yes')).toBe('');
    expect(await deleteWith('yes', 'also-deleted.json')).toBe('');
  });
});

describe('delete-env on a terminal', () => {
  it.each(['', 'y', 'no', 'Yes please'])('deletes nothing when the answer is %j', async (answer) => {
    await expect(deleteWith(answer)).rejects.toMatchObject({ code: 'E_NOT_CONFIRMED' });

    expect(simulation.cloud.vms.size).toBe(1);
    expect(simulation.cloud.disks.size).toBe(1);
    expect((await simulation.state()).disks).toHaveLength(1);
  });

  it('names the VM and the disk with its size before it deletes them', async () => {
    const [vm] = simulation.cloud.vms.keys();
    const [disk] = simulation.cloud.disks.keys();

    const asked = await deleteWith('yes');

    expect(asked).toContain(`VM '${vm}'`);
    expect(asked).toContain(`persistent disk '${disk}' of 1024 MiB with all of its data`);
    expect(simulation.cloud.vms.size + simulation.cloud.disks.size).toBe(0);
  });
});
