import type { Command } from 'commander';
import { declareCommand } from './declare.ts';
import type { Dispatch } from './declare.ts';

/** Commands that make stemcells. */
export function declareStemcellCommands(program: Command, dispatch: Dispatch): void {
  declareCommand(program, dispatch, {
    usage: 'build-stemcell',
    summary: 'build a bootable stemcell from Debian packages',
    options: [
      { flags: '--iaas <name>', summary: 'qemu, openstack, aws, vsphere, vcloud or local' },
      { flags: '--os <name>', summary: 'operating system (default: debian-12)' },
      { flags: '--out <directory>', summary: 'where the tarball goes (default: dist/stemcells)' },
      { flags: '--stemcell-version <version>', summary: 'version of the stemcell (default: 0.1)' },
      { flags: '--agent <path>', summary: 'the agent as a .deb (default: dist/agent/microbosh-agent.deb)' },
      { flags: '--disk <MiB>', summary: 'size of the root file system (default: 2048, with compilers 3072)' },
      { flags: '--no-compilers', summary: 'leave compilers out; for releases that are compiled already' },
      { flags: '--cache <directory>', summary: 'keep root file systems there and use them again' },
      { flags: '--micro <release>', summary: 'bake the packages and jobs of this release tarball in' },
      { flags: '--job <name>', summary: 'job of the micro stemcell', repeatable: true },
    ],
    load: () => import('../commands/build-stemcell.ts'),
  });
}
