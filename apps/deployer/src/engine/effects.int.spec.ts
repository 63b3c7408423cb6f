import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OperationalError } from '@microbosh/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventBus } from '../events/event-bus.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { Journal } from '../state/journal.ts';
import { StateStore } from '../state/state-store.ts';
import { DeployRun, defaultLimits } from './deploy-run.ts';
import { Effects, recordDisk } from './effects.ts';
import type { Cloud } from './effects.ts';
import { deleteDisk } from './steps/disk-steps.ts';
import { deleteStemcell } from './steps/instance-steps.ts';
import { deleteVm } from './steps/vm-steps.ts';

class Busy extends OperationalError {
  readonly code = 'E_CPI_CLOUD';
  override readonly retryable = true;
}

let folder: string;
let store: StateStore;
let journal: Journal;
let events: EventBus;
/** Method and token of every call that reached the cloud. */
let calls: string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'effects-'));
  const paths = environmentPaths(join(folder, 'm.yml'), undefined, folder);
  store = await StateStore.open(paths);
  journal = await Journal.open(paths.journal);
  events = new EventBus();
  calls = [];
});
afterEach(async () => {
  await journal.close();
  await rm(folder, { recursive: true });
});

/** Answers create_disk with these in turn; an error is thrown. */
function effectsOn(...answers: readonly (string | Error)[]): Effects {
  const rest = [...answers];
  const answer = (method: string) => async (context: { readonly token?: string }) => {
    calls.push(`${method} ${context.token ?? ''}`);
    const next = rest.shift();
    if (next instanceof Error) throw next;
    return next ?? '';
  };
  const cloud: Partial<Cloud> = {
    createDisk: answer('create_disk'),
    deleteDisk: async () => void calls.push('delete_disk'),
    deleteVm: async () => void calls.push('delete_vm'),
    deleteStemcell: async () => void calls.push('delete_stemcell'),
  };
  return new Effects({
    cloud: cloud as Cloud,
    store,
    journal,
    events,
    signal: new AbortController().signal,
    stemcellApiVersion: 3,
    retry: { attempts: 3, delayMs: 1 },
  });
}

const createDisk = (effects: Effects) =>
  effects.create(
    'disk',
    { size: 1024, cloud_properties: {} },
    async (context) => ({ cid: await effects.cloud.createDisk(context, 1024, {}, 'vm-1') }),
    ({ cid }) => recordDisk(store, cid, { size: 1024 }),
  );

describe('making something in the cloud', () => {
  it('is tried again when the CPI says that it may be, with the same token', async () => {
    const said: string[] = [];
    events.subscribe((event) => void (event.type === 'message' && said.push(event.text)));

    const { cid } = await createDisk(effectsOn(new Busy('try later'), 'disk-1'));

    expect(cid).toBe('disk-1');
    expect(calls).toHaveLength(2);
    expect(new Set(calls).size, 'one token').toBe(1);
    expect(said.join()).toContain('is tried again: try later');
    expect(store.current.disks?.map((disk) => disk.cid)).toEqual(['disk-1']);
  });

  it('ends with the error when it stays so, within bounds', async () => {
    const always = Array.from({ length: 9 }, () => new Busy('try later'));

    await expect(createDisk(effectsOn(...always))).rejects.toThrow('try later');

    expect(calls).toHaveLength(3);
  });

  it('believes no answer without a CID', async () => {
    await expect(createDisk(effectsOn(''))).rejects.toThrow("answered 'create_disk' with an empty CID");

    expect(store.current.disks ?? []).toEqual([]);
  });
});

describe('an empty CID', () => {
  it.each([
    ['VM', (run: DeployRun) => events.step('x', (step) => deleteVm(run, '', step))],
    ['disk', (run: DeployRun) => events.stage('x', (stage) => deleteDisk(run, '', 'disk', stage))],
    ['stemcell', (run: DeployRun) => deleteStemcell(run, '', 'stemcell', events)],
  ])('is never given to the cloud to delete a %s', async (what, remove) => {
    const run = new DeployRun({
      inputs: undefined,
      effects: effectsOn(),
      events,
      connectAgent: () => Promise.reject(new Error('no agent here')),
      compiledPackages: { find: async () => undefined, keep: async () => undefined },
      limits: defaultLimits,
      group: 'g',
      skipDrain: false,
    });

    await expect(remove(run)).rejects.toThrow(`a ${what} without CID is never deleted`);

    expect(calls).toEqual([]);
    expect(journal.openIntents).toEqual([]);
  });
});
