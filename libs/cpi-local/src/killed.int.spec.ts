import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isJsonObject } from '@microbosh/errors';
import { tracesOf, type MachineTraces } from './testing/machine-traces.ts';
import { runInVm } from './testing/run-in-vm.ts';
import { removeEnvironments } from './testing/remove-environments.ts';
import { makeShellStemcell } from './testing/shell-stemcell.ts';

const program = join(import.meta.dirname, 'testing/killable-run.ts');

let directory: string;
let image: string;
let before: MachineTraces;

beforeAll(async () => {
  directory = await mkdtemp('/var/tmp/microbosh-killed-');
  image = await makeShellStemcell(directory);
  before = await tracesOf(join(directory, 'root'));
});
afterAll(() => removeEnvironments(directory));

/** Numbers between 0 and 1 that are the same at every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function start(goal: string) {
  const args = ['--root', join(directory, 'root'), '--image', image, '--ip', '10.251.81.5', '--goal', goal];
  return spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_COMPILE_CACHE: join(directory, 'cache') },
  });
}

/** Runs to the goal; answers what is there, and how long it took. */
async function reach(goal: string): Promise<{ vm: string; disk: string; durationMs: number }> {
  const started = performance.now();
  const child = start(goal);
  const closed = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = (await closed) as [number | null];
  if (code !== 0) throw new Error(`${goal} ended with ${code}: ${stderr}`);
  const value: unknown = JSON.parse(stdout);
  if (!isJsonObject(value)) throw new Error(stdout);
  const { vm, disk } = value;
  return {
    vm: typeof vm === 'string' ? vm : '',
    disk: typeof disk === 'string' ? disk : '',
    durationMs: performance.now() - started,
  };
}

async function killAfter(goal: string, delayMs: number): Promise<void> {
  const child = start(goal);
  child.stdout.resume();
  child.stderr.resume();
  const closed = once(child, 'close');
  await Promise.race([sleep(delayMs), closed]);
  child.kill('SIGKILL');
  await closed;
}

async function cids(kind: string): Promise<string[]> {
  return readdir(join(directory, 'root', kind)).catch(() => []);
}

describe('a caller that is killed with SIGKILL', () => {
  it.each([1, 2])(
    'at moments of seed %i converges at the next run: one VM, one disk, its data, and nothing left at the end',
    { timeout: 240_000 },
    async (seed) => {
      const random = seeded(seed);
      const root = join(directory, 'root');
      let durationMs = 1500;

      for (let kill = 0; kill < 3; kill += 1) await killAfter('up', random() * durationMs);
      const up = await reach('up');
      durationMs = up.durationMs;
      const device = `/dev/disk/by-id/microbosh-${up.disk}`;
      await runInVm(
        root,
        up.vm,
        `mkfs.ext4 -q ${device}; mount ${device} /mnt; echo kept > /mnt/data; umount /mnt`,
      );
      for (let kill = 0; kill < 3; kill += 1) await killAfter('renewed', random() * durationMs);
      const renewed = await reach('renewed');
      const data = await runInVm(root, renewed.vm, `mount ${device} /mnt; cat /mnt/data; umount /mnt`);
      const present = { vms: await cids('vms'), disks: (await cids('disks')).length };
      const devices = (await tracesOf(root))['loops']?.length;
      for (let kill = 0; kill < 3; kill += 1) await killAfter('down', random() * durationMs);
      await reach('down');

      expect(renewed.vm).not.toBe(up.vm);
      expect(renewed.disk).toBe(up.disk);
      expect(data).toBe('kept');
      expect(present).toEqual({ vms: [renewed.vm], disks: 2 });
      expect(devices).toBe(2);
      expect(await tracesOf(root)).toEqual(before);
      await expect(access(root)).rejects.toThrow();
    },
  );
});
