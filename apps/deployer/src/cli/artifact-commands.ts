import type { Command } from 'commander';
import type { Dispatch } from './declare.ts';

/** Commands around release and stemcell tarballs: create-release, inspect-release, inspect-stemcell. */
export function declareArtifactCommands(_program: Command, _dispatch: Dispatch): void {}
