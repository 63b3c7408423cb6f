import { defineConfig } from 'vitest/config';

/**
 * unit: `*.spec.ts` beside the source; needs nothing but this checkout.
 * int:  `*.int.spec.ts`; crosses a process or a network, needs nothing for itself alone.
 * machine: the same where it uses disks, namespaces, a firewall or guests of this machine; root.
 * lab:  what takes too long for every check; see the lab scripts of package.json.
 * e2e:  journeys with the real commands, namespaces and disks; root; one file at a time.
 * guest: the journey on an emulated machine; may run beside the others.
 */
const machine = ['apps/agent', 'libs/cpi-local', 'libs/cpi-qemu', 'libs/stemcell-builder'].map(
  (directory) => `${directory}/**/*.int.spec.ts`,
);

const guest = 'e2e/qemu.e2e.spec.ts';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          setupFiles: ['scripts/property-seed.ts'],
          include: ['{apps,libs,scripts}/**/*.spec.ts', 'e2e/support/**/*.spec.ts'],
          exclude: ['**/*.int.spec.ts', '**/node_modules/**'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'int',
          setupFiles: ['scripts/property-seed.ts'],
          include: ['{apps,libs}/**/*.int.spec.ts', 'e2e/*.int.spec.ts'],
          exclude: ['**/node_modules/**', ...machine],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'machine',
          setupFiles: ['scripts/property-seed.ts'],
          include: machine,
          exclude: ['**/node_modules/**'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
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
          exclude: ['**/node_modules/**', guest],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'guest',
          include: [guest],
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
