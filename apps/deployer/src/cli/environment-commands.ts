import type { Command } from 'commander';
import type { Dispatch } from './declare.ts';

/** Commands that work on one environment. */
export function declareEnvironmentCommands(_program: Command, _dispatch: Dispatch): void {}
