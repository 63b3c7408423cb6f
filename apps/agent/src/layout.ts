import { join } from 'node:path';
import { agentPaths } from './platform/agent-paths.ts';

/** Paths below the base directory B (`/var/vcap`) that the protocol side works with; names are the originals'. */
export interface Layout {
  readonly base: string;
  readonly bosh: string;
  readonly bootstrapReport: string;
  readonly spec: string;
  readonly applyIntent: string;
  readonly tasks: string;
  readonly data: string;
  readonly tmp: string;
  readonly jobs: string;
  readonly packages: string;
  readonly dataJobs: string;
  readonly dataPackages: string;
  readonly compile: string;
  readonly compiledIndex: string;
  readonly compiledResults: string;
  readonly blobs: string;
  readonly sensitiveBlobs: string;
  /** Blobs that a micro stemcell brings along; only read. */
  readonly bakedBlobs: string;
  readonly logs: string;
  readonly run: string;
  readonly monit: string;
  readonly monitJobs: string;
  readonly stopped: string;
  readonly instance: string;
  readonly store: string;
  readonly dynamicDisks: string;
}

export function layoutOf(base: string): Layout {
  const data = join(base, 'data');
  const bosh = join(base, 'bosh');
  return {
    base,
    bosh,
    bootstrapReport: agentPaths(base).bootstrapReport,
    spec: join(bosh, 'spec.json'),
    applyIntent: join(bosh, 'apply_intent.json'),
    tasks: join(bosh, 'tasks.json'),
    data,
    tmp: join(data, 'tmp'),
    jobs: join(base, 'jobs'),
    packages: join(base, 'packages'),
    dataJobs: join(data, 'jobs'),
    dataPackages: join(data, 'packages'),
    compile: join(data, 'compile'),
    compiledIndex: join(data, 'blobs', '.compiled.json'),
    compiledResults: join(data, 'compiled'),
    blobs: join(data, 'blobs'),
    sensitiveBlobs: join(data, 'sensitive_blobs'),
    bakedBlobs: join(base, 'micro_bosh', 'data', 'cache'),
    logs: join(data, 'sys', 'log'),
    run: join(data, 'sys', 'run'),
    monit: join(base, 'monit'),
    monitJobs: join(base, 'monit', 'job'),
    stopped: join(base, 'monit', 'stopped'),
    instance: join(base, 'instance'),
    store: join(base, 'store'),
    dynamicDisks: join(data, 'dynamic_disks'),
  };
}
