import type { BootstrapStep } from '../step.ts';
import { agentId } from './agent-id.ts';
import { alerts } from './alerts.ts';
import { authorizedKeys } from './authorized-keys.ts';
import { blobstore } from './blobstore.ts';
import { credentials } from './credentials.ts';
import { dataDirectories } from './data-directories.ts';
import { devTools } from './dev-tools.ts';
import { firewall } from './firewall.ts';
import { hardening } from './hardening.ts';
import { hostname } from './hostname.ts';
import { ipv6 } from './ipv6.ts';
import { loadSettings } from './load-settings.ts';
import { logging } from './logging.ts';
import { messageBus } from './message-bus.ts';
import { monitService } from './monit-service.ts';
import { monitUser } from './monit-user.ts';
import { networking } from './networking.ts';
import { passwords } from './passwords.ts';
import { runtimeScript } from './runtime-script.ts';
import { sharedMemory } from './shared-memory.ts';
import { systemDirectories } from './system-directories.ts';
import { time } from './time.ts';
import { tmp } from './tmp.ts';

export interface DiskSteps {
  /** Between networking and the directories that lie on the data disk. */
  readonly data: readonly BootstrapStep[];
  readonly persistent: readonly BootstrapStep[];
}

/** The steps in the order of the original agents. */
export function bootstrapSteps(disks: DiskSteps): readonly BootstrapStep[] {
  return [
    runtimeScript,
    loadSettings,
    firewall,
    passwords,
    authorizedKeys,
    agentId,
    credentials,
    hostname,
    messageBus,
    blobstore,
    ipv6,
    networking,
    time,
    ...disks.data,
    sharedMemory,
    dataDirectories,
    systemDirectories,
    logging,
    tmp,
    monitUser,
    alerts,
    ...disks.persistent,
    hardening,
    devTools,
    monitService,
  ];
}
