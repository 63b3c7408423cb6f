import type { Command } from 'commander';
import { declareCommand, stateOption, variableOptions } from './declare.ts';
import type { Dispatch } from './declare.ts';

/** Commands about this machine and its user, not about one environment. */
export function declareMachineCommands(program: Command, dispatch: Dispatch): void {
  declareCommand(program, dispatch, {
    usage: 'doctor',
    summary: 'check this machine; with a manifest, also what its deploy will ask of the cloud',
    options: [
      { flags: '-m, --manifest <path>', summary: 'check the cloud of this manifest, too' },
      stateOption,
      ...variableOptions,
    ],
    load: () => import('../commands/doctor.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'environments [folders...]',
    summary: 'list the environments whose state files are in these folders, or below them',
    load: () => import('../commands/environments.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'clean-up',
    aliases: ['prune'],
    summary: 'bound the caches of downloads, compiled packages and rendered templates',
    options: [
      { flags: '--max-age <days>', summary: 'remove what was not used for so long (default 30)' },
      { flags: '--max-size <MiB>', summary: 'keep so much of the rest, last used first (default 10240)' },
      { flags: '--all', summary: 'remove everything' },
      { flags: '--dry-run', summary: 'say what would be removed' },
    ],
    load: () => import('../commands/clean-up.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'completion <shell>',
    summary: 'print the completion script of bash, zsh or fish',
    load: () => import('../commands/completion.ts'),
  });
}
