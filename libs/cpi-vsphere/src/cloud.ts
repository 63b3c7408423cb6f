import type { CpiConfig } from '@microbosh/cpi';
import type { VimClient } from './vim-client.ts';
import type { VsphereConfig } from './vsphere-config.ts';

/** What every part of this CPI needs. */
export interface VsphereCloud {
  readonly config: VsphereConfig;
  readonly client: VimClient;
  /** Merged into every VM's settings. */
  readonly agent: CpiConfig['cloud']['properties']['agent'];
}
