import { agentConnector } from './access/agent-session.ts';
import { proxyRoute } from './access/proxy-route.ts';
import { connectorOver } from './access/routed-connector.ts';
import type { CommandContext } from './cli/context.ts';
import { checkCloud, cloudOpener, warmUp } from './clouds/open-cloud.ts';
import { compiledPackageCache } from './content/compiled-package-cache.ts';
import { deployerCaches } from './content/deployer-caches.ts';
import { artifactOpener } from './content/open-artifacts.ts';
import { defaultLimits } from './engine/deploy-run.ts';
import type { DeployerDependencies } from './ports/deployer-dependencies.ts';

/** The engine's real dependencies. Caches are shared by all environments of the operator. */
export function composeDeployer(context: Pick<CommandContext, 'env'>): DeployerDependencies {
  const caches = deployerCaches(context.env);
  const route = proxyRoute(context.env);
  return {
    warmUp,
    openArtifacts: artifactOpener(caches, connectorOver(route)),
    checkCloud,
    openCloud: cloudOpener(caches),
    connectAgent: agentConnector(context.env),
    route,
    compiledPackages: compiledPackageCache(caches.compiled),
    limits: defaultLimits,
    now: () => new Date(),
  };
}
