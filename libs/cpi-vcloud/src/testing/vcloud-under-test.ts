import type { JsonObject } from '@microbosh/errors';
import { VcdClient } from '../vcd-client.ts';
import { vcloudConfig } from '../vcloud-config.ts';
import { vcloudCpi } from '../vcloud-cpi.ts';

export type VcloudUnderTest = ReturnType<typeof vcloudUnderTest>;

/** The CPI with the pauses of a test; `client` shows what it sends. */
export function vcloudUnderTest(vcd: JsonObject) {
  const config = vcloudConfig({ cloud: { plugin: 'vcloud', properties: { vcds: [vcd] } } });
  const client = new VcdClient(config, { pauseMs: 5 });
  const agent = { mbus: 'https://u:p@0.0.0.0:6868', ntp: [] };
  return { cpi: vcloudCpi({ config, client, agent }), client };
}
