import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { NodeCommandRunner, type CommandRunner } from '@microbosh/host';

const changes = ['rename', 'symlink', 'link', 'rm', 'unlink', 'writeFile', 'copyFile', 'mkdir'] as const;
/** What changes nothing that a reader sees, or only who may read it. */
const finer = ['chmod', 'chown', 'lchown', 'rmdir', 'cp', 'truncate', 'utimes', 'open'] as const;

/** Calls `step` right before whatever changes a file, a link or a directory; with KILLS=all in finer steps. */
export function stepBeforeFileChanges(step: () => void): void {
  const names = process.env['KILLS'] === 'all' ? [...changes, ...finer] : changes;
  for (const name of names) {
    const original = fs[name] as (...args: unknown[]) => Promise<unknown>;
    Object.assign(fs, {
      [name]: async (...args: unknown[]) => {
        if (await isChange(name, args)) step();
        return original(...args);
      },
    });
  }
  syncBuiltinESMExports();
}

async function isChange(name: string, [path, flags]: readonly unknown[]): Promise<boolean> {
  // A directory that is there already is no step, and neither is a file that is only read.
  if (name === 'open') return typeof flags === 'string' && flags !== 'r';
  if (name !== 'mkdir') return true;
  return fs.access(String(path)).then(
    () => false,
    () => true,
  );
}

/** A runner that calls `step` before and after each command. */
export function steppedRunner(step: () => void): CommandRunner {
  const real = new NodeCommandRunner();
  return {
    async run(argv, options) {
      step();
      const result = await real.run(argv, options);
      step();
      return result;
    },
  };
}
