import { OpenstackClient } from '../openstack-client.ts';
import { openstackConfig } from '../openstack-config.ts';
import { openstackCpi } from '../openstack-cpi.ts';
import { fakeCredentials } from './fake-openstack.ts';

/** The CPI with the pauses of a test, at an address of the fake's Keystone; `calls` are the requests that it sends. */
export function openstackUnderTest(
  authUrl: string,
  properties: Readonly<Record<string, unknown>> = {},
): { readonly cpi: ReturnType<typeof openstackCpi>; readonly calls: readonly string[] } {
  const config = openstackConfig({
    cloud: {
      plugin: 'openstack',
      properties: {
        openstack: {
          auth_url: authUrl,
          ...fakeCredentials,
          default_key_name: 'lab',
          default_security_groups: ['default'],
          state_timeout: 5,
          wait_resource_poll_interval: 0.005,
          ...properties,
        },
      },
    },
  });
  const client = new OpenstackClient(config, { pauseMs: 2 });
  const agent = { mbus: 'https://u:p@0.0.0.0:6868', ntp: [] };
  return { cpi: openstackCpi({ config, client, agent, registry: undefined }), calls: client.calls };
}
