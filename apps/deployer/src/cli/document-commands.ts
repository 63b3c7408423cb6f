import type { Command } from 'commander';
import type { Dispatch } from './declare.ts';

/** Commands that only read and print documents: interpolate, vars, schema. */
export function declareDocumentCommands(_program: Command, _dispatch: Dispatch): void {}
