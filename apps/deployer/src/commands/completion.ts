import type { Command } from 'commander';
import { OperationalError } from '@microbosh/errors';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { buildProgram } from '../cli/program.ts';
import { version } from '../version.ts';

/** There is no completion for that shell. */
export class ShellUnknown extends OperationalError {
  readonly code = 'E_SHELL_UNKNOWN';
}

/** Prints the completion script of a shell, made from the same table as the command line. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  _options: CommandOptions,
): Promise<number> {
  context.console.block(completionScript(args[0] ?? ''));
  return exitCodes.done;
}

export function completionScript(shell: string): string {
  const write = writers[shell];
  if (write === undefined) {
    throw new ShellUnknown(`There is no completion for '${shell}'`, {
      advice: `There is one for: ${Object.keys(writers).join(', ')}.`,
    });
  }
  return write(
    commandLines(
      buildProgram(version, () => Promise.resolve()),
      '',
    ),
  );
}

interface CommandLine {
  /** Words after the program's name, separated by blanks; empty for the program itself. */
  readonly path: string;
  readonly summary: string;
  readonly subcommands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly {
    readonly flag: string;
    readonly summary: string;
    readonly hasValue: boolean;
  }[];
}

function commandLines(command: Command, path: string): CommandLine[] {
  const names = (inner: Command) => [inner.name(), ...inner.aliases()];
  const line: CommandLine = {
    path,
    summary: command.description(),
    subcommands: command.commands.flatMap((inner) =>
      names(inner).map((name) => ({ name, summary: inner.description() })),
    ),
    options: command.options
      .filter((option) => !option.hidden)
      .flatMap((option) =>
        [option.short, option.long].flatMap((flag) =>
          flag === undefined
            ? []
            : [{ flag, summary: option.description, hasValue: option.required || option.optional }],
        ),
      ),
  };
  return [
    line,
    ...command.commands.flatMap((inner) =>
      names(inner).flatMap((name) => commandLines(inner, path === '' ? name : `${path} ${name}`)),
    ),
  ];
}

const writers: Readonly<Record<string, (lines: readonly CommandLine[]) => string>> = { bash, zsh, fish };

function bash(lines: readonly CommandLine[]): string {
  const cases = (pick: (line: CommandLine) => readonly string[]) =>
    lines.map((line) => `    ${quote(line.path)}) printf '%s' ${quote(pick(line).join(' '))} ;;`).join('\n');
  return `# bash completion of microbosh
_microbosh_words() {
  case "$1" in
${cases((line) => line.subcommands.map(({ name }) => name))}
  esac
}
_microbosh_flags() {
  case "$1" in
${cases((line) => line.options.map(({ flag }) => flag))}
  esac
}
_microbosh_flags_with_value() {
  case "$1" in
${cases((line) => line.options.filter(({ hasValue }) => hasValue).map(({ flag }) => flag))}
  esac
}
_microbosh() {
  local current=\${COMP_WORDS[COMP_CWORD]} path='' word index words skip=no
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [ "$skip" = yes ]; then skip=no; continue; fi
    case " $(_microbosh_flags_with_value "$path") " in *" $word "*) skip=yes; continue ;; esac
    words=" $(_microbosh_words "$path") "
    case "$words" in *" $word "*) path="\${path:+$path }$word" ;; esac
  done
  if [ "$skip" = yes ]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  elif [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_microbosh_flags "$path")" -- "$current")
  else
    words=$(_microbosh_words "$path")
    if [ -n "$words" ]; then mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current");
    else mapfile -t COMPREPLY < <(compgen -f -- "$current"); fi
  fi
}
complete -o filenames -o bashdefault -F _microbosh microbosh
`;
}

function zsh(lines: readonly CommandLine[]): string {
  const described = (name: string, summary: string) => quote(`${name.replaceAll(':', '\\:')}:${summary}`);
  const cases = lines.map(
    (line) =>
      `    ${quote(line.path)})\n      words_here=(${line.subcommands.map(({ name, summary }) => described(name, summary)).join(' ')})\n      flags_here=(${line.options.map(({ flag, summary }) => described(flag, summary)).join(' ')})\n      ;;`,
  );
  return `#compdef microbosh
_microbosh() {
  local -a words_here flags_here
  local at='' word
  for word in "\${(@)words[2,CURRENT-1]}"; do
    _microbosh_at "$at"
    if (( \${words_here[(I)$word:*]} )); then at="\${at:+$at }$word"; fi
  done
  _microbosh_at "$at"
  if [[ $PREFIX == -* ]]; then _describe -o 'option' flags_here
  elif (( $#words_here )); then _describe 'command' words_here
  else _files; fi
}
_microbosh_at() {
  words_here=() flags_here=()
  case "$1" in
${cases.join('\n')}
  esac
}
_microbosh "$@"
`;
}

function fish(lines: readonly CommandLine[]): string {
  const rules = lines.flatMap((line) => {
    const condition = quote(`__microbosh_at ${quote(line.path)}`);
    const words = line.subcommands.map(
      ({ name, summary }) =>
        `complete -c microbosh -f -n ${condition} -a ${quote(name)} -d ${quote(summary)}`,
    );
    const flags = line.options.map(({ flag, summary, hasValue }) => {
      const spelled = flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`;
      return `complete -c microbosh -n ${condition} ${spelled}${hasValue ? ' -r' : ''} -d ${quote(summary)}`;
    });
    return [...words, ...flags];
  });
  const known = lines.filter(({ path }) => path !== '').map(({ path }) => quote(path));
  return `# fish completion of microbosh
function __microbosh_at
  set -l path ''
  for word in (commandline -opc)[2..-1]
    set -l longer (string trim -- "$path $word")
    if contains -- $longer ${known.join(' ')}
      set path $longer
    end
  end
  test "$path" = "$argv[1]"
end
${rules.join('\n')}
`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
