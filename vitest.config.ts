import { defineConfig } from 'vitest/config';

/**
 * unit: `*.spec.ts` beside the source; needs nothing but this checkout.
 * int:  `*.int.spec.ts`; crosses a process, a disk or a network, some as root, one file at a time.
 * lab:  what takes too long for every check; see the lab scripts of package.json.
 * e2e:  journeys with the real commands, namespaces and disks; root; one file at a time.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{apps,libs,scripts}/**/*.spec.ts', 'e2e/support/**/*.spec.ts'],
          exclude: ['**/*.int.spec.ts', '**/node_modules/**'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'int',
          include: ['{apps,libs}/**/*.int.spec.ts'],
          exclude: ['**/node_modules/**'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'lab',
          include: ['e2e/labs/**/*.lab.spec.ts'],
          exclude: ['**/node_modules/**'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['e2e/**/*.e2e.spec.ts'],
          exclude: ['**/node_modules/**'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
