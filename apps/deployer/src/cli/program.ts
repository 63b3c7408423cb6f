import { Command } from 'commander';
import { declareArtifactCommands } from './artifact-commands.ts';
import { addGlobalOptions } from './declare.ts';
import type { Dispatch } from './declare.ts';
import { declareDocumentCommands } from './document-commands.ts';
import { declareEnvironmentCommands } from './environment-commands.ts';
import { declareMachineCommands } from './machine-commands.ts';
import { declareMicroCommands } from './micro-commands.ts';
import { declareStemcellCommands } from './stemcell-commands.ts';

/** The command line: names, arguments and options only. What a command does is imported when it runs. */
export function buildProgram(version: string, dispatch: Dispatch): Command {
  const program = new Command('microbosh')
    .description('Brings up one VM on a cloud and makes a service run on it.')
    .version(`version ${version}`, '-v, --version', 'print the version')
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .allowExcessArguments(false)
    .exitOverride();
  addGlobalOptions(program);
  declareEnvironmentCommands(program, dispatch);
  declareMachineCommands(program, dispatch);
  declareMicroCommands(program, dispatch);
  declareDocumentCommands(program, dispatch);
  declareArtifactCommands(program, dispatch);
  declareStemcellCommands(program, dispatch);
  return program;
}
