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

/** Waits in the VM, for ten seconds at most, until its agent has started as often, and prints how often it did. */
export function countStarts(atLeast: number): string {
  const starts = 'cat /var/vcap/bosh/agent-starts 2>/dev/null | wc -l';
  return `for i in $(seq 100); do [ $(${starts}) -ge ${atLeast} ] && break; sleep 0.1; done; ${starts}`;
}
