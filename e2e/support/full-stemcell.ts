import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { flavourOf, type Iaas } from '@microbosh/stemcell-builder';
import { root, succeed } from './commands.ts';

const version = '0.1';
const buildTimeoutMs = 20 * 60_000;
const directory = join(root, 'dist/stemcells');
/** Root file systems by the digest of their inputs: the packages are fetched and unpacked once per checkout. */
export const stemcellCache = join(root, 'node_modules/.cache/microbosh/stemcells');

/** The project's own full stemcell for the local provider; answers its path. */
export const fullLocalStemcell = () => flavouredStemcell('local');

/** The one for machines of QEMU. */
export const qemuStemcell = () => flavouredStemcell('qemu');

/** With the agent of this checkout, without compilers; built when it is older than that. */
export async function flavouredStemcell(iaas: Iaas): Promise<string> {
  const stemcell = pathOf(directory, iaas);
  if ((await changedAt(stemcell)) < (await changedAt(await agentPackage()))) {
    await buildStemcell(iaas, { out: directory, cache: stemcellCache });
  }
  return stemcell;
}

export async function buildStemcell(
  iaas: Iaas,
  options: {
    readonly out: string;
    readonly cache?: string;
    readonly micro?: { readonly release: string; readonly job: string };
    /** Name of a user of this machine; else whoever runs the tests. */
    readonly user?: string;
  },
): Promise<string> {
  const { out, cache, micro, user } = options;
  await succeed(
    [
      ...(user === undefined
        ? ([] as const)
        : (['runuser', '-u', user, '--', 'env', `HOME=${out}`] as const)),
      'bin/microbosh',
      'build-stemcell',
      ...['--iaas', iaas, '--no-compilers', '--stemcell-version', version],
      ...['--agent', await agentPackage(), '--out', out],
      ...(cache === undefined ? [] : ['--cache', cache]),
      ...(micro === undefined ? [] : ['--micro', micro.release, '--job', micro.job]),
    ],
    { timeoutMs: buildTimeoutMs },
  );
  return pathOf(out, iaas);
}

function pathOf(out: string, iaas: Iaas): string {
  return join(out, `microbosh-stemcell-${version}-${iaas}-${flavourOf(iaas).hypervisor}-debian-12.tgz`);
}

/** Of the agent as it is bundled now. */
async function agentPackage(): Promise<string> {
  const bundle = join(root, 'dist/agent/microbosh-agent.mjs');
  const agent = join(root, 'dist/agent/microbosh-agent.deb');
  if ((await changedAt(agent)) < (await changedAt(bundle))) await succeed(['packaging/agent/build']);
  return agent;
}

/** Milliseconds; 0 for what is not there. */
async function changedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
