import { join } from 'node:path';

/** Every path of the agent below its base directory B (`/var/vcap`). Names are those of the original agents. */
export interface AgentPaths {
  readonly base: string;
  readonly bosh: string;
  readonly etc: string;
  readonly bin: string;
  readonly settingsDir: string;
  readonly settingsCache: string;
  readonly updateSettings: string;
  readonly persistentDiskHints: string;
  readonly lastMountedDisk: string;
  readonly bootstrapReport: string;
  readonly diskFormatIntents: string;
  readonly diskMigration: string;
  readonly canRestart: string;
  readonly spec: string;
  readonly data: string;
  readonly store: string;
  readonly migrationTarget: string;
  readonly monit: string;
  readonly sys: string;
  readonly instance: string;
}

export function agentPaths(base: string): AgentPaths {
  const bosh = join(base, 'bosh');
  return {
    base,
    bosh,
    etc: join(bosh, 'etc'),
    bin: join(bosh, 'bin'),
    settingsDir: join(bosh, 'settings'),
    settingsCache: join(bosh, 'settings.json'),
    updateSettings: join(bosh, 'update_settings.json'),
    persistentDiskHints: join(bosh, 'persistent_disk_hints.json'),
    lastMountedDisk: join(bosh, 'managed_disk_settings.json'),
    bootstrapReport: join(bosh, 'bootstrap-report.json'),
    diskFormatIntents: join(bosh, 'disk_format_intents.json'),
    diskMigration: join(bosh, 'disk_migration.json'),
    canRestart: join(bosh, 'canrestart'),
    spec: join(bosh, 'spec.json'),
    data: join(base, 'data'),
    store: join(base, 'store'),
    migrationTarget: join(base, 'store_migration_target'),
    monit: join(base, 'monit'),
    sys: join(base, 'sys'),
    instance: join(base, 'instance'),
  };
}
