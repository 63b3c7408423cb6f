import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { root, succeed } from './commands.ts';

const version = '0.1';
const directory = join(root, 'dist/stemcells');
/** Root file systems by the digest of their inputs: the packages are fetched and unpacked once per checkout. */
const cache = join(root, 'node_modules/.cache/microbosh/stemcells');

/** The project's own full stemcell for the local provider; answers its path. */
export const fullLocalStemcell = () => builtStemcell('local', 'local-namespaces');

/** The one for machines of QEMU. */
export const qemuStemcell = () => builtStemcell('qemu', 'qemu-kvm');

/** With the agent of this checkout, without compilers. */
async function builtStemcell(iaas: string, flavour: string): Promise<string> {
  const bundle = join(root, 'dist/agent/microbosh-agent.mjs');
  const agent = join(root, 'dist/agent/microbosh-agent.deb');
  if ((await changedAt(agent)) < (await changedAt(bundle))) await succeed(['packaging/agent/build']);
  const stemcell = join(directory, `microbosh-stemcell-${version}-${flavour}-debian-12.tgz`);
  if ((await changedAt(stemcell)) < (await changedAt(agent))) {
    await succeed(
      [
        'bin/microbosh',
        'build-stemcell',
        ...['--iaas', iaas, '--no-compilers', '--stemcell-version', version],
        ...['--agent', agent, '--out', directory, '--cache', cache],
      ],
      { timeoutMs: 280_000 },
    );
  }
  return stemcell;
}

/** Milliseconds; 0 for what is not there. */
async function changedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
