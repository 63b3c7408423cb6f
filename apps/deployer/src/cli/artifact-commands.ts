import type { Command } from 'commander';
import { declareCommand } from './declare.ts';
import type { Dispatch } from './declare.ts';

const digestOption = { flags: '--sha1 <digest>', summary: 'digest that the tarball must have' };

/** Commands around release and stemcell tarballs. */
export function declareArtifactCommands(program: Command, dispatch: Dispatch): void {
  declareCommand(program, dispatch, {
    usage: 'create-release [directory]',
    summary: 'build a release tarball from its source directory',
    options: [
      { flags: '--tarball <path>', summary: 'where the tarball goes (default: release.tgz)' },
      { flags: '--name <name>', summary: 'name of the release (default: that of config/final.yml)' },
      { flags: '--release-version <version>', summary: 'version of the release (default: 0+dev.1)' },
    ],
    load: () => import('../commands/create-release.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'inspect-release <tarball>',
    summary: 'verify a release tarball and show what is in it',
    options: [digestOption],
    load: () => import('../commands/inspect-release.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'inspect-stemcell <tarball>',
    summary: 'verify a stemcell tarball and show what it is',
    options: [digestOption],
    load: () => import('../commands/inspect-stemcell.ts'),
  });
}
