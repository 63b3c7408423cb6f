import { homedir } from 'node:os';
import { join } from 'node:path';
import { connectAgent } from './access/agent-session.ts';
import type { CommandContext } from './cli/context.ts';
import { checkCloud, cloudOpener } from './clouds/open-cloud.ts';
import { compiledPackageCache } from './content/compiled-package-cache.ts';
import { artifactOpener } from './content/open-artifacts.ts';
import { defaultLimits } from './engine/deploy-run.ts';
import type { DeployerDependencies } from './ports/deployer-dependencies.ts';

/** The engine's real dependencies. Caches are shared by all environments of the operator. */
export function composeDeployer(context: Pick<CommandContext, 'env'>): DeployerDependencies {
  const cache = join(context.env.HOME ?? homedir(), '.microbosh', 'cache');
  return {
    openArtifacts: artifactOpener(join(cache, 'downloads')),
    checkCloud,
    openCloud: cloudOpener({ downloads: join(cache, 'downloads'), compiled: join(cache, 'cpi') }),
    connectAgent,
    compiledPackages: compiledPackageCache(join(cache, 'compiled')),
    limits: defaultLimits,
    now: () => new Date(),
  };
}
