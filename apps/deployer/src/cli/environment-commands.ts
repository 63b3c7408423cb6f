import type { Command } from 'commander';
import { declareCommand, stateOption, variableOptions } from './declare.ts';
import type { Dispatch, OptionDeclaration } from './declare.ts';

const packageDir: OptionDeclaration = {
  flags: '--package-dir <dir>',
  summary: 'directory for the packages of a CPI release; built-in CPIs need none',
};
const skipDrain: OptionDeclaration = { flags: '--skip-drain', summary: 'do not run drain scripts' };
const recreate: readonly OptionDeclaration[] = [
  { flags: '--recreate', summary: 'make a new VM although nothing changed' },
  { flags: '--recreate-persistent-disks', summary: 'move the data to a new persistent disk' },
];

const registry: readonly OptionDeclaration[] = [
  { flags: '--registry', summary: 'deliver the settings of the VM by a registry' },
  {
    flags: '--no-registry',
    summary:
      'deliver them in the user data (default for a CPI release of API version 2 when the manifest configures none)',
  },
];
const limit: OptionDeclaration = {
  flags: '--limit <name=duration>',
  summary: 'time limit: agent, known_agent, cpi, task, drain, compile, copy, old_disk',
  repeatable: true,
};
const rollback: readonly OptionDeclaration[] = [
  { flags: '--no-rollback', summary: 'keep a new VM that failed as the current one' },
  { flags: '--keep-broken', summary: 'go back to the old VM, and keep the one that failed for a look' },
];

/** Commands that work on one environment. */
export function declareEnvironmentCommands(program: Command, dispatch: Dispatch): void {
  declareCommand(program, dispatch, {
    usage: 'create-env <manifest>',
    aliases: ['deploy'],
    summary: 'create the VM of a manifest, or converge it',
    options: [
      stateOption,
      ...variableOptions,
      ...recreate,
      skipDrain,
      ...registry,
      packageDir,
      ...rollback,
      limit,
    ],
    load: () => import('../commands/create-env.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'delete-env <manifest>',
    summary: 'delete VM, disk, stemcell and state of an environment',
    options: [
      stateOption,
      ...variableOptions,
      { flags: '--keep-disk', summary: 'keep the persistent disk and its record' },
      skipDrain,
      packageDir,
    ],
    load: () => import('../commands/delete-env.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'status <manifest>',
    summary: 'show what is on record and what the agent says',
    options: [stateOption],
    load: () => import('../commands/status.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'plan <manifest>',
    summary: 'show what create-env would do',
    options: [
      stateOption,
      ...variableOptions,
      ...recreate,
      { flags: '--out <path>', summary: 'write the plan to a file' },
      { flags: '--detailed-exitcode', summary: 'exit code 2 when there is something to do' },
    ],
    load: () => import('../commands/plan.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'stop-env <manifest>',
    summary: 'stop the jobs; the VM stays',
    options: [stateOption, ...variableOptions, skipDrain],
    load: async () => (await import('../commands/stop-start.ts')).stop,
  });
  declareCommand(program, dispatch, {
    usage: 'start-env <manifest>',
    summary: 'start the jobs on the existing VM',
    options: [stateOption, ...variableOptions],
    load: async () => (await import('../commands/stop-start.ts')).start,
  });
  declareCommand(program, dispatch, {
    usage: 'recreate <manifest>',
    summary: 'make a new VM for the same deployment; the persistent disk stays',
    options: [stateOption, ...variableOptions, skipDrain, ...registry, packageDir, ...rollback, limit],
    load: () => import('../commands/recreate.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'apply <plan>',
    summary: 'carry out a plan that plan --out wrote, if it still fits',
    options: registry,
    load: () => import('../commands/apply.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'drift <manifest>',
    summary: 'compare the state with what the cloud and the agent say; exit code 4 when they differ',
    options: [stateOption, ...variableOptions],
    load: () => import('../commands/drift.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'agent <manifest> <method> [arguments...]',
    summary:
      'call a method of the agent and print its value, or show its bootstrap-report; arguments are JSON, plain text or @FILE',
    options: [stateOption],
    load: () => import('../commands/agent.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'logs <manifest>',
    summary: 'fetch the logs of the jobs as a tarball, or follow them',
    options: [
      stateOption,
      { flags: '-f, --follow', summary: 'print what is added, until Ctrl-C' },
      { flags: '--only <glob>', summary: 'only these files', repeatable: true },
      { flags: '--agent', summary: 'the logs of the agent instead' },
      { flags: '--out <path>', summary: 'file to write' },
    ],
    load: () => import('../commands/logs.ts'),
  });
  const port: OptionDeclaration = {
    flags: '--port <number>',
    summary: 'port of the SSH server (default 22)',
  };
  declareCommand(program, dispatch, {
    usage: 'ssh <manifest> [command...]',
    summary: 'open a shell on the VM, or run one command there; options of it come after --',
    options: [stateOption, port],
    load: () => import('../commands/ssh.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'scp <manifest> <paths...>',
    summary: "copy files; paths on the VM begin with 'vm:'",
    options: [stateOption, port, { flags: '-r, --recursive', summary: 'copy folders' }],
    load: () => import('../commands/scp.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'run-errand <manifest> [job]',
    summary: 'run bin/run of a job on the VM',
    options: [stateOption],
    load: () => import('../commands/run-errand.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'support <manifest>',
    summary: 'pack what explains a failed deploy, without secrets; also when the agent never answered',
    options: [stateOption, ...variableOptions, { flags: '--out <path>', summary: 'file to write' }],
    load: () => import('../commands/support.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'adopt <manifest>',
    aliases: ['refresh'],
    summary: 'rebuild a state that is lost from what the cloud has of this deployment',
    options: [
      stateOption,
      ...variableOptions,
      { flags: '--vm <cid>', summary: 'this VM, for a CPI that cannot search' },
      { flags: '--disk <cid>', summary: 'this disk; the first one is that in use', repeatable: true },
    ],
    load: () => import('../commands/adopt.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'timeline <manifest>',
    summary: 'show what the runs on this environment did, with times',
    options: [stateOption, { flags: '--html <path>', summary: 'write a self-contained page' }],
    load: () => import('../commands/timeline.ts'),
  });
  declareCommand(program, dispatch, {
    usage: 'unlock <manifest>',
    summary: 'remove the lock of a machine that no longer exists',
    options: [stateOption, { flags: '--force', summary: 'the holder is certainly gone' }],
    load: () => import('../commands/unlock.ts'),
  });
}
