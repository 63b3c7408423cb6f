/**
 * Builds what is shipped into a VM or a release: programs without node_modules.
 *
 *   dist/agent/microbosh-agent.mjs            the agent
 *   dist/agent/microbosh-agent.cjs            the same for its executable, which keeps the compiled code of CommonJS only
 *   dist/registry/program/                    the registry: microbosh-registry.mjs, and parts that it loads when it needs them
 *   dist/cpi/{local,qemu,openstack,aws,vsphere,vcloud}-cpi.mjs  our CPIs as executables
 *   dist/stemcells/local-host-rootfs.tgz      light stemcell of the local provider
 */
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rename, rm, writeFile, copyFile, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';
import { build, type BuildOptions, type Plugin } from 'esbuild';
import { bundleOptions } from './bundle-options.ts';

const root = dirname(import.meta.dirname);
const runner = new NodeCommandRunner();

/**
 * `import … from 'node:http'` in an ES module reads every export of it, which loads what its lazy ones stand for: fetch,
 * WebCrypto, … Taken as objects they stay away until they are used: 3 MiB less for each program.
 */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup(plugged) {
    plugged.onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: 'builtin' }));
    plugged.onLoad({ filter: /./, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

/** Fastify asks for these when a route declares a schema, or nobody gives it others: the registry's `app.ts` does. */
const noSchemaCompilers: Plugin = {
  name: 'no-schema-compilers',
  setup(plugged) {
    const compilers = /^@fastify\/(ajv-compiler|fast-json-stringify-compiler)$/;
    plugged.onResolve({ filter: compilers }, ({ path }) => ({ path, namespace: 'absent' }));
    plugged.onLoad({ filter: /./, namespace: 'absent' }, ({ path }) => ({
      contents: `module.exports = () => { throw new Error('${path} is not part of this program'); };`,
    }));
  },
};

const common: BuildOptions = { ...bundleOptions, plugins: [lazyBuiltins] };

async function bundle(entry: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await build({ ...common, entryPoints: [join(root, entry)], outfile: target });
}

async function bundleCommonJs(entry: string, target: string): Promise<void> {
  await build({ ...common, format: 'cjs', banner: {}, entryPoints: [join(root, entry)], outfile: target });
}

/** One file for the start, others for what is imported later: most of a start is reading and compiling. */
async function bundleInParts(entry: string, name: string, folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await build({
    ...common,
    plugins: [lazyBuiltins, noSchemaCompilers],
    entryPoints: { [name]: join(root, entry) },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    splitting: true,
  });
}

/** Content-derived version: a changed agent is a new stemcell, an unchanged one is not. */
async function lightStemcell(agentBundle: string, target: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-stemcell-'));
  try {
    const bin = join(work, 'image-root/var/vcap/bosh/bin');
    await mkdir(bin, { recursive: true });
    await copyFile(agentBundle, join(bin, 'microbosh-agent.mjs'));
    await chmod(join(bin, 'microbosh-agent.mjs'), 0o644);
    const reproducible = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
    await runner.run([
      'tar',
      '-C',
      join(work, 'image-root'),
      ...reproducible,
      '-czf',
      join(work, 'image'),
      'var',
    ]);
    const image = await readFile(join(work, 'image'));
    const content = createHash('sha256')
      .update(await readFile(agentBundle))
      .digest('hex');
    await writeFile(
      join(work, 'stemcell.MF'),
      [
        'name: microbosh-local-host-rootfs',
        `version: "0.1+${content.slice(0, 12)}"`,
        'operating_system: host',
        'api_version: 3',
        'stemcell_formats: [local-host-rootfs]',
        `sha1: sha256:${createHash('sha256').update(image).digest('hex')}`,
        'cloud_properties: {infrastructure: local, kind: host-rootfs}',
        '',
      ].join('\n'),
    );
    await mkdir(dirname(target), { recursive: true });
    await runner.run(['tar', '-C', work, ...reproducible, '-czf', `${target}.tmp`, 'stemcell.MF', 'image']);
    await rename(`${target}.tmp`, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

await Promise.all([
  bundle('apps/agent/src/main.ts', join(root, 'dist/agent/microbosh-agent.mjs')),
  bundleCommonJs('apps/agent/src/main.ts', join(root, 'dist/agent/microbosh-agent.cjs')),
  bundleInParts('apps/registry/src/main.ts', 'microbosh-registry', join(root, 'dist/registry/program')),
  ...['local', 'qemu', 'openstack', 'aws', 'vsphere', 'vcloud'].map((name) =>
    bundle(`libs/cpi-${name}/src/main.ts`, join(root, `dist/cpi/${name}-cpi.mjs`)),
  ),
]);
await lightStemcell(
  join(root, 'dist/agent/microbosh-agent.mjs'),
  join(root, 'dist/stemcells/local-host-rootfs.tgz'),
);
