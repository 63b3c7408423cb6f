import { existsSync } from 'node:fs';
import type { CommandContext, CommandModule } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { startEnv, stopEnv } from '../engine/stop-start.ts';
import type { StopStartRequest } from '../engine/stop-start.ts';
import { pathsOf } from '../environment.ts';
import { refuseWrongPaths } from '../inputs/refuse-wrong-paths.ts';

export const stop = commandFor(stopEnv);
export const start = commandFor(startEnv);

function commandFor(change: (request: StopStartRequest) => Promise<void>): CommandModule {
  return {
    run: async (context: CommandContext, args, options) => {
      const paths = pathsOf(args[0] ?? '', textOption(options, 'state'), context);
      if (!existsSync(paths.state)) {
        refuseWrongPaths(args[0] ?? '', paths, context.cwd);
        context.events.message('No deployment state file found.');
        return exitCodes.done;
      }
      await change({
        context,
        paths,
        skipDrain: flagOption(options, 'skipDrain'),
        dependencies: composeDeployer(context),
      });
      return exitCodes.done;
    },
  };
}
