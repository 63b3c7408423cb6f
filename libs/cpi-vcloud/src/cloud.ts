import type { CpiConfig } from '@microbosh/cpi';
import type { VcdClient } from './vcd-client.ts';
import type { VcloudConfig } from './vcloud-config.ts';

/** What every part of this CPI needs. */
export interface VcloudCloud {
  readonly config: VcloudConfig;
  readonly client: VcdClient;
  /** Merged into every VM's settings. */
  readonly agent: CpiConfig['cloud']['properties']['agent'];
}
