import type { Command } from 'commander';
import { declareCommand, stateOption, variableOptions } from './declare.ts';
import type { Dispatch, OptionDeclaration } from './declare.ts';

const packageDir: OptionDeclaration = {
  flags: '--package-dir <dir>',
  summary: 'directory for the packages of a CPI release; built-in CPIs need none',
};
const skipDrain: OptionDeclaration = { flags: '--skip-drain', summary: 'do not run drain scripts' };
const recreate: readonly OptionDeclaration[] = [
  { flags: '--recreate', summary: 'make a new VM although nothing changed' },
  { flags: '--recreate-persistent-disks', summary: 'move the data to a new persistent disk' },
];

/** Commands that work on one environment. */
export function declareEnvironmentCommands(program: Command, dispatch: Dispatch): void {
  declareCommand(program, dispatch, {
    usage: 'create-env <manifest>',
    aliases: ['deploy'],
    summary: 'create the VM of a manifest, or converge it',
    options: [stateOption, ...variableOptions, ...recreate, skipDrain, packageDir],
    load: () => import('../commands/create-env.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'delete-env <manifest>',
    summary: 'delete VM, disk, stemcell and state of an environment',
    options: [
      stateOption,
      ...variableOptions,
      { flags: '--keep-disk', summary: 'keep the persistent disk and its record' },
      skipDrain,
      packageDir,
    ],
    load: () => import('../commands/delete-env.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'status <manifest>',
    summary: 'show what is on record and what the agent says',
    options: [stateOption],
    load: () => import('../commands/status.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'plan <manifest>',
    summary: 'show what create-env would do',
    options: [
      stateOption,
      ...variableOptions,
      ...recreate,
      { flags: '--out <path>', summary: 'write the plan to a file' },
      { flags: '--detailed-exitcode', summary: 'exit code 2 when there is something to do' },
    ],
    load: () => import('../commands/plan.ts'),
  });
}
