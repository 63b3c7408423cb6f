import type { BuildOptions } from 'esbuild';

/** How every program of the project is bundled: an ES module for the pinned runtime, without node_modules. */
export const bundleOptions = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node26',
  legalComments: 'none',
  logLevel: 'warning',
  // Native code that packages need only in some cases, and that the programs only use when it is installed.
  external: ['pg-native', 'cpu-features', '*.node'],
  // The text stays in memory while the program runs. Names are kept: they stand in stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  // CommonJS dependencies call require(); an ES module has none of its own.
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';import{fileURLToPath as __f}from'node:url';import{dirname as __d}from'node:path';const require=__createRequire(import.meta.url),__filename=__f(import.meta.url),__dirname=__d(__filename);",
  },
} as const satisfies BuildOptions;
