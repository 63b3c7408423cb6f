import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contractChecks, processChecks } from '@microbosh/cpi';
import type { Cpi, CpiConfig } from '@microbosh/cpi';
import { NodeCommandRunner } from '@microbosh/host';
import { createQemuCpi } from './index.ts';
import { findQemu } from './qemu-process.ts';

const executable = join(import.meta.dirname, '../../../bin/cpi-qemu');
const absent = {
  vm: 'vm-00000000000000000000',
  disk: 'disk-00000000000000000000',
  stemcell: 'stemcell-00000000000000000000',
};

const context = { directorUuid: 'd', requestId: 'r', stemcellApiVersion: 3 };

let directory: string;
let config: CpiConfig;
let configFile: string;
let image: string;

beforeAll(async () => {
  directory = await mkdtemp('/tmp/mbqc-');
  configFile = join(directory, 'cpi.json');
  image = join(directory, 'image.qcow2');
  await new NodeCommandRunner().run(['qemu-img', 'create', '-q', '-f', 'qcow2', image, '8M']);
  const qemu = { root_dir: join(directory, 'q'), accelerator: 'tcg' };
  config = { cloud: { plugin: 'qemu', properties: { qemu, agent: {} } } };
  await writeFile(configFile, JSON.stringify(config));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** The suite is listed before there is a configuration. */
function lazily(make: () => Cpi): Cpi {
  let made: Cpi | undefined;
  return new Proxy({} as Cpi, {
    get: (_, property) => {
      made ??= make();
      const member: unknown = Reflect.get(made, property, made);
      return typeof member === 'function' ? (member.bind(made) as unknown) : member;
    },
  });
}

async function switchOff(): Promise<void> {
  for (const cid of await readdir(join(directory, 'q/vms'))) {
    const pid = await findQemu(join(directory, 'q/vms', cid, 'qemu.pid'), cid);
    if (pid === undefined) continue;
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => createQemuCpi(config).hasVm(context, cid)).toBe(false);
  }
}

/** Real QEMU; the firmware of a machine with an empty disk is all that runs. */
describe('the contract of the QEMU CPI', () => {
  const executableChecks = processChecks({
    get argv(): [string, ...string[]] {
      return [executable, configFile];
    },
    absentVmCid: absent.vm,
  });
  const contract = contractChecks(
    lazily(() => createQemuCpi(config)),
    {
      get imagePath() {
        return image;
      },
      stemcellCloudProperties: null,
      vmCloudProperties: { memory: 128, root_disk: 16, ephemeral_disk: 16 },
      networks: {
        default: { type: 'manual', ip: '10.252.92.10', netmask: '255.255.255.0', gateway: '10.252.92.1' },
      },
      diskCloudProperties: {},
      diskSizeMiB: 32,
      knowsTokens: true,
      absent,
    },
  );
  for (const check of [...executableChecks, ...contract]) {
    it(check.name, async () => {
      // The firmware lets go of no device and does not heed the power button: the machine is off when that is needed.
      if (/^(detach_disk|reboot_vm) /.test(check.name)) await switchOff();
      await check.run();
    });
  }

  it('is a list of rules, not an empty one', () => {
    expect(executableChecks.length + contract.length).toBeGreaterThan(20);
  });
});
