/** Prints the package.json of the npm tarball: name, version and runtime as the checkout has them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const checkout = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'),
) as Readonly<Record<'name' | 'version' | 'description' | 'license', string>> & {
  readonly optionalDependencies: Readonly<Record<string, string>>;
};
const { name, version, description, license, optionalDependencies } = checkout;
process.stdout.write(
  `${JSON.stringify(
    {
      name,
      version,
      description,
      license,
      type: 'module',
      bin: { microbosh: 'bin/microbosh' },
      man: ['./share/man/man1/microbosh.1'],
      os: ['linux'],
      // npm may be older than the runtime: the command checks what it starts with.
      engines: { node: '>=18' },
      optionalDependencies,
    },
    undefined,
    2,
  )}\n`,
);
