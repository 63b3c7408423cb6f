import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';

/** Notes its start, leaves an orphan that ends at once, and waits. */
const agent = `#!/bin/bash
echo started >> /var/vcap/bosh/agent-starts
(sleep 0.1 &)
trap 'exit 0' TERM
while :; do sleep 0.2 & wait $!; done
`;

/** The image of a light stemcell whose agent is a shell script; answers its path. */
export async function makeShellStemcell(directory: string): Promise<string> {
  const files = await mkdtemp(join(tmpdir(), 'microbosh-stemcell-'));
  const image = join(directory, 'image');
  try {
    await mkdir(join(files, 'var/vcap/bosh/bin'), { recursive: true });
    await writeFile(join(files, 'var/vcap/bosh/bin/microbosh-agent'), agent, { mode: 0o755 });
    await new NodeCommandRunner().run(['tar', '-czf', image, '-C', files, '.']);
  } finally {
    await rm(files, { recursive: true, force: true });
  }
  return image;
}
