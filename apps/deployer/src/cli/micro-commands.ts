import type { Command } from 'commander';
import { declareCommand, variableOptions } from './declare.ts';
import type { Dispatch, OptionDeclaration } from './declare.ts';

const selection: readonly OptionDeclaration[] = [
  { flags: '-d, --deployment <path>', summary: 'work on this manifest instead of the selected one' },
  { flags: '-t, --target <url>', summary: 'take the manifest that was selected for this target' },
  { flags: '-c, --config <path>', summary: 'file of the selection (default: ~/.bosh_deployer_config)' },
];

/** The commands of `bosh micro`. Their manifests also work with all commands that take one. */
export function declareMicroCommands(program: Command, dispatch: Dispatch): void {
  const micro = program
    .command('micro')
    .description('deploy a micro stemcell with a manifest of bosh micro')
    .action(() => micro.outputHelp());
  declareCommand(micro, dispatch, {
    usage: 'deployment [name]',
    summary: 'select a manifest, or the folder of a micro_bosh.yml; without a name, show the selected one',
    options: [...selection, ...variableOptions],
    load: () => import('../commands/micro-deployment.ts'),
  });
  declareCommand(micro, dispatch, {
    usage: 'status',
    summary: 'show what is on record of the selected deployment',
    options: selection,
    load: () => import('../commands/micro-status.ts'),
  });
  declareCommand(micro, dispatch, {
    usage: 'deploy [stemcell]',
    summary: 'deploy the selected manifest with a stemcell: a tarball, or image:ID of the cloud',
    options: [
      ...selection,
      { flags: '--update', summary: 'change the deployment that exists' },
      { flags: '--update-if-exists', summary: 'create the deployment, or change the one that exists' },
      { flags: '--image <id>', summary: 'use an image that is in the cloud already' },
      { flags: '--sha1 <digest>', summary: 'digest of a stemcell that is downloaded' },
      ...variableOptions,
    ],
    load: () => import('../commands/micro-deploy.ts'),
  });
  declareCommand(micro, dispatch, {
    usage: 'delete',
    summary: 'delete VM, disk and stemcell of the selected deployment',
    options: [...selection, ...variableOptions],
    load: () => import('../commands/micro-delete.ts'),
  });
  declareCommand(micro, dispatch, {
    usage: 'deployments',
    summary: 'list the deployments that were selected, and those of a bosh-deployments.yml here',
    options: selection,
    load: () => import('../commands/micro-deployments.ts'),
  });
  declareCommand(micro, dispatch, {
    usage: 'agent <method> [arguments...]',
    summary: 'call a method of the agent; arguments are JSON, text, or @FILE',
    options: selection,
    load: () => import('../commands/micro-agent.ts'),
  });
  declareCommand(micro, dispatch, {
    usage: 'apply <spec>',
    summary: 'apply a spec from a file in place of the one that the stemcell has',
    options: [...selection, ...variableOptions],
    load: () => import('../commands/micro-apply.ts'),
  });
}
