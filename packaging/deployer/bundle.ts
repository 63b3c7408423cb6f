/**
 * Bundles the deployer:
 *
 *   dist/deployer/lib/microbosh.mjs   the program
 *   dist/deployer/lib/assets/         Ruby as WebAssembly, the thread that runs it, files of the stemcell builder
 *   dist/deployer/single.mjs          the program for the single executable, where it is also the runtime of local VMs
 *   dist/deployer/share/              manual page and completions
 */
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Plugin } from 'esbuild';
import { bundleOptions } from '../../scripts/bundle-options.ts';
import { manualPage } from './manual-page.ts';
import { completionScript } from '../../apps/deployer/src/commands/completion.ts';

const here = import.meta.dirname;
const root = join(here, '../..');
const out = join(root, 'dist/deployer');

/** Files are where the package has them. */
const packagedAssets: Plugin = {
  name: 'packaged assets',
  setup: (hooks) => {
    hooks.onResolve({ filter: /^\.\/(assets|library-folder)\.ts$/ }, ({ importer }) =>
      /\/libs\/(ruby-templates|stemcell-builder)\/src\/[^/]+$/.test(importer)
        ? { path: join(here, 'assets.ts') }
        : undefined,
    );
  },
};

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const options = { ...bundleOptions, plugins: [packagedAssets] };
await Promise.all([
  build({
    ...options,
    entryPoints: [join(root, 'apps/deployer/src/main.ts')],
    // Not split: of a split CommonJS package that is imported dynamically only the default export is left.
    outfile: join(out, 'lib/microbosh.mjs'),
  }),
  build({ ...options, entryPoints: [join(here, 'single.ts')], outfile: join(out, 'single.mjs') }),
  build({
    ...options,
    entryPoints: [join(root, 'libs/ruby-templates/src/worker.ts')],
    outfile: join(out, 'lib/assets/template-worker.mjs'),
  }),
]);

const assets = join(out, 'lib/assets');
const wasm = import.meta.resolve('@ruby/3.4-wasm-wasi/dist/ruby+stdlib.wasm');
cpSync(fileURLToPath(wasm), join(assets, 'ruby.wasm'));
cpSync(join(root, 'libs/ruby-templates/src/evaluation.rb'), join(assets, 'evaluation.rb'));
for (const name of ['customize.sh', 'overlay', 'overlay-aws']) {
  cpSync(join(root, 'libs/stemcell-builder', name), join(assets, 'stemcell-builder', name), {
    recursive: true,
  });
}

const texts: readonly (readonly [string, string])[] = [
  ['man/man1/microbosh.1', manualPage()],
  ['bash-completion/completions/microbosh', completionScript('bash')],
  ['zsh/vendor-completions/_microbosh', completionScript('zsh')],
  ['fish/vendor_completions.d/microbosh.fish', completionScript('fish')],
];
for (const [name, text] of texts) {
  mkdirSync(dirname(join(out, 'share', name)), { recursive: true });
  writeFileSync(join(out, 'share', name), text);
}
