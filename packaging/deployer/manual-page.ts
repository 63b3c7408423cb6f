import type { Command } from 'commander';
import { exitCodes } from '../../apps/deployer/src/cli/exit-codes.ts';
import { buildProgram } from '../../apps/deployer/src/cli/program.ts';
import { version } from '../../apps/deployer/src/version.ts';

const meanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  done: 'Done, or nothing to do.',
  error: 'An error; its last lines say what to do.',
  changesPending: 'plan --detailed-exitcode: there is something to do.',
  locked: 'Another process works on the environment.',
  drift: 'drift: the cloud or the agent contradicts the state.',
  cancelled: 'Cancelled by a signal.',
};

/** microbosh(1), made from the same table as the command line. */
export function manualPage(): string {
  const program = buildProgram(version, () => Promise.resolve());
  const codes = Object.entries(exitCodes) as [keyof typeof exitCodes, number][];
  return [
    `.TH MICROBOSH 1 "" "microbosh ${version}" "User Commands"`,
    '.SH NAME',
    `microbosh \\- ${roff(program.description())}`,
    '.SH SYNOPSIS',
    '.B microbosh',
    '.I command',
    '[\\fIoptions\\fR] [\\fIarguments\\fR]',
    '.SH DESCRIPTION',
    'One manifest describes one VM, at most one persistent disk, and the jobs that run there. The state of a deployment',
    'stands beside its manifest. Every command can be run again after an error or an interruption.',
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => commandLines(command, '')),
    '.SH GLOBAL OPTIONS',
    ...optionLines(program),
    '.SH EXIT STATUS',
    ...codes.flatMap(([name, code]) => ['.TP', `.B ${code}`, roff(meanings[name])]),
    '.SH FILES',
    '.TP',
    '.I NAME\\-state.json',
    'State, beside the manifest; NAME\\-state.json.d holds its journal, its lock and the history.',
    '.TP',
    '.I ~/.microbosh/cache',
    'Downloads and compiled packages; see clean\\-up.',
    '.SH SEE ALSO',
    '.BR microbosh\\-agent (8),',
    '.BR microbosh\\-registry (8)',
    '',
  ].join('\n');
}

function commandLines(command: Command, parent: string): string[] {
  const path = `${parent}${command.name()}`;
  if (command.commands.length > 0) {
    return command.commands.flatMap((inner) => commandLines(inner, `${path} `));
  }
  const aliases = command.aliases();
  const also = aliases.length === 0 ? '' : ` Also: ${aliases.join(', ')}.`;
  const own = optionLines(command).length > 0 ? ['.RS', ...optionLines(command), '.RE'] : [];
  const takes = command.usage().replace('[options] ', '').replace('[options]', '');
  return ['.TP', `.B ${roff(path)} \\fR${roff(takes)}`, roff(`${command.description()}.${also}`), ...own];
}

const everywhere = new Set(['--json', '--tty', '--no-color', '--non-interactive', '--quiet']);

function optionLines(command: Command): string[] {
  const isProgram = command.parent === null;
  return command.options
    .filter((option) => !option.hidden && (isProgram || !everywhere.has(option.long ?? '')))
    .flatMap((option) => ['.TP', `.B ${roff(option.flags)}`, roff(option.description)]);
}

function roff(text: string): string {
  const escaped = text.replaceAll('\\', '\\e').replaceAll('-', '\\-');
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}
