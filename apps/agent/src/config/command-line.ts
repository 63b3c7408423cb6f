import { OperationalError } from '@microbosh/errors';
import { parseArgs } from 'node:util';

export type SupervisorKind = 'builtin' | 'monit' | 'dummy';

/** The command line of the Go agent; `builtin` is ours. */
export interface CommandLine {
  readonly platform: 'ubuntu' | 'dummy';
  /** Path of agent.json; absent: all defaults. */
  readonly configPath?: string;
  readonly supervisor: SupervisorKind;
  readonly baseDir: string;
  readonly printVersion: boolean;
  /** Instead of being the agent: shows what its last bootstrap did. */
  readonly printBootstrapReport: boolean;
}

export class UsageError extends OperationalError {
  readonly code = 'E_USAGE';
}

const bootstrapReport = 'bootstrap-report';
const supervisors: readonly SupervisorKind[] = ['builtin', 'monit', 'dummy'];

/** Flags as Go's: one dash or two, `-P ubuntu` or `-P=ubuntu`. `-r` and `-no-alerts` are accepted and ignored. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const { values, positionals } = parseFlags(args);
  const unknown = positionals.find((word) => word !== bootstrapReport);
  if (unknown !== undefined) throw usage(`'${unknown}' is not a command`);
  const platform = values.platform ?? 'ubuntu';
  if (platform !== 'ubuntu' && platform !== 'dummy') throw usage(`platform '${platform}' is not known`);
  const supervisor = supervisors.find((kind) => kind === (values.supervisor ?? 'monit'));
  if (!supervisor)
    throw usage(`job supervisor '${values.supervisor}' is not known; it is one of ${supervisors.join(', ')}`);
  return {
    platform,
    ...(values.config === undefined ? {} : { configPath: values.config }),
    supervisor,
    baseDir: values.base ?? '/var/vcap',
    printVersion: values.version ?? false,
    printBootstrapReport: positionals.includes(bootstrapReport),
  };
}

function parseFlags(args: readonly string[]) {
  // Go writes long names with one dash and values with '='; node's parser wants two dashes and no '=' on short flags.
  const normalised = args.flatMap((argument) => {
    if (/^--?no-alerts$/.test(argument)) return ['--no-alerts'];
    const match = /^--?([PCMbrv])(?:=(.*))?$/s.exec(argument);
    if (!match?.[1]) return [argument];
    return match[2] === undefined ? [`-${match[1]}`] : [`-${match[1]}`, match[2]];
  });
  try {
    return parseArgs({
      args: normalised,
      allowPositionals: true,
      options: {
        platform: { type: 'string', short: 'P' },
        config: { type: 'string', short: 'C' },
        supervisor: { type: 'string', short: 'M' },
        base: { type: 'string', short: 'b' },
        root: { type: 'string', short: 'r' },
        'no-alerts': { type: 'boolean' },
        version: { type: 'boolean', short: 'v' },
      },
    });
  } catch (error) {
    throw usage(error instanceof Error ? error.message : String(error));
  }
}

function usage(problem: string): UsageError {
  return new UsageError(`${problem}.`, {
    advice:
      'Usage: microbosh-agent -P ubuntu -C /var/vcap/bosh/agent.json -b /var/vcap -M builtin|monit, or: microbosh-agent bootstrap-report',
  });
}
