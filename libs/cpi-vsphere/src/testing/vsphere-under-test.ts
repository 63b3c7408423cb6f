import type { JsonObject } from '@microbosh/errors';
import { VimClient } from '../vim-client.ts';
import { vsphereCpi } from '../vsphere-cpi.ts';
import { vsphereConfig } from '../vsphere-config.ts';

export type VsphereUnderTest = ReturnType<typeof vsphereUnderTest>;

/** The CPI with the pauses of a test; `client` shows what it sends. */
export function vsphereUnderTest(vcenter: JsonObject) {
  const config = vsphereConfig({ cloud: { plugin: 'vsphere', properties: { vcenters: [vcenter] } } });
  const client = new VimClient(config, { pauseMs: 5 });
  const agent = { mbus: 'https://u:p@0.0.0.0:6868', ntp: [] };
  return { cpi: vsphereCpi({ config, client, agent }), client };
}
