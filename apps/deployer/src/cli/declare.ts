import type { Command } from 'commander';
import type { CommandModule, CommandOptions } from './context.ts';

export interface OptionDeclaration {
  /** In commander's notation: `-o, --ops-file <path>`. */
  readonly flags: string;
  readonly summary: string;
  /** May be given several times; the values arrive as a list in the order given. */
  readonly repeatable?: boolean;
}

export interface CommandDeclaration {
  /** `create-env <manifest>`; optional arguments in square brackets, a rest argument ends with three dots. */
  readonly usage: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly options?: readonly OptionDeclaration[];
  /** Imported only when the command runs. */
  readonly load: () => Promise<CommandModule>;
}

/** Runs the imported command with the global switches and everything the shell handed over. */
export type Dispatch = (
  load: () => Promise<CommandModule>,
  args: readonly string[],
  options: CommandOptions,
) => Promise<void>;

const globalOptions: readonly OptionDeclaration[] = [
  { flags: '--json', summary: 'print events, one JSON object per line, instead of text' },
  { flags: '--tty', summary: 'print as on a terminal although standard output is none' },
  { flags: '--no-color', summary: 'print without colours' },
  { flags: '-n, --non-interactive', summary: 'ask nothing; confirmations are taken as given' },
  { flags: '-q, --quiet', summary: 'print errors and results only' },
];

/** Switches of the original that have no effect on these commands; accepted so that scripts keep working. */
const ignoredOptions: readonly string[] = [
  '--sha2',
  '--parallel <number>',
  '--config <path>',
  '--column <name>',
  '-e, --environment <url>',
  '--ca-cert <path>',
  '--client <name>',
  '--client-secret <secret>',
  '-d, --deployment <name>',
];

export const variableOptions: readonly OptionDeclaration[] = [
  { flags: '-v, --var <name=value>', summary: 'set a variable', repeatable: true },
  { flags: '--var-file <name=path>', summary: 'set a variable to the content of a file', repeatable: true },
  { flags: '-l, --vars-file <path>', summary: 'load variables from a YAML file', repeatable: true },
  {
    flags: '--vars-env <prefix>',
    summary: 'load variables from environment variables PREFIX_name',
    repeatable: true,
  },
  {
    flags: '--vars-store <path>',
    summary: 'load variables from this file, and store generated ones there',
  },
  { flags: '-o, --ops-file <path>', summary: 'apply operations to the manifest', repeatable: true },
];

export const stateOption: OptionDeclaration = {
  flags: '--state <path>',
  summary: 'state file (default: beside the manifest)',
};

export function addGlobalOptions(command: Command): void {
  for (const option of globalOptions) command.option(option.flags, option.summary);
}

export function declareCommand(
  parent: Command,
  dispatch: Dispatch,
  declaration: CommandDeclaration,
): Command {
  const command = parent.command(declaration.usage).description(declaration.summary);
  for (const alias of declaration.aliases ?? []) command.alias(alias);
  for (const option of declaration.options ?? []) {
    if (option.repeatable) {
      command.option(option.flags, option.summary, (value: string, previous: readonly string[] = []) => [
        ...previous,
        value,
      ]);
    } else {
      command.option(option.flags, option.summary);
    }
  }
  addGlobalOptions(command);
  for (const flags of ignoredOptions) {
    const option = command.createOption(flags).hideHelp();
    const isDeclared = command.options.some(
      ({ long, short }) => long === option.long || (short !== undefined && short === option.short),
    );
    if (!isDeclared) command.addOption(option);
  }
  command.action(async () => {
    await dispatch(declaration.load, command.args, command.optsWithGlobals<CommandOptions>());
  });
  return command;
}
