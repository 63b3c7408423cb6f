import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeCommandRunner } from '@microbosh/host';
import { libraryFolder } from './library-folder.ts';

const program = join(libraryFolder(), 'overlay-aws/var/vcap/bosh/bin/ebs-name');
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ebs-name-'));
});
afterEach(async () => rm(directory, { recursive: true }));

/** With an `nvme` in place of the real one, which answers the identification of a controller. */
async function nameOf(vendorPart: string): Promise<string> {
  const identification = Buffer.alloc(4096);
  identification.write('vol0123456789abcdef0Amazon Elastic Block Store', 4);
  identification.write(vendorPart, 3072);
  await writeFile(join(directory, 'answer'), identification);
  const nvme = `#!/bin/sh\n[ "$*" = "id-ctrl --output-format=binary /dev/nvme1n1" ] && cat ${directory}/answer\n`;
  await writeFile(join(directory, 'nvme'), nvme, { mode: 0o755 });
  const env = { PATH: `${directory}:/usr/bin:/bin` };
  const { stdout } = await new NodeCommandRunner().run(['sh', program, '/dev/nvme1n1'], { env });
  return stdout;
}

describe('the name of an EBS volume on an NVMe disk', () => {
  it.each([
    ['/dev/sdb'.padEnd(32), 'sdb\n'],
    ['xvdba'.padEnd(32), 'xvdba\n'],
    ['sda1\0', 'sda1\n'],
  ])('%j is %j', async (vendorPart, name) => {
    expect(await nameOf(vendorPart)).toBe(name);
  });

  it.each(['', ' '.repeat(32), '../sdb', 'sd b/x'])('%j is no name', async (vendorPart) => {
    await expect(nameOf(vendorPart)).rejects.toThrow('no name of an EBS volume');
  });
});
