import { describe, expect, it } from 'vitest';
import { openstackConfig } from './openstack-config.ts';

const base = { auth_url: 'http://keystone:5000/v3', username: 'u', api_key: 'k', project: 'p', domain: 'd' };

function configured(openstack: Record<string, unknown>) {
  return openstackConfig({
    cloud: { plugin: 'openstack', properties: { openstack: openstack as typeof base } },
  });
}

describe('openstackConfig', () => {
  it.each([
    ['http://k:5000/v3', 'http://k:5000'],
    ['http://k:5000/v3/auth/tokens', 'http://k:5000'],
    ['http://k/identity/', 'http://k/identity'],
    ['https://k/identity/v3/', 'https://k/identity'],
  ])('cuts the version segment of %s', (auth_url, expected) => {
    expect(configured({ ...base, auth_url }).identityUrl).toBe(expected);
  });

  it('has the defaults of the original', () => {
    expect(configured(base)).toMatchObject({ stateTimeoutMs: 300_000, pollIntervalMs: 5_000 });
  });

  it('treats null as absent, as job templates render it', () => {
    expect(
      configured({ ...base, region: null, connection_options: { ca_cert: null } }).properties.region,
    ).toBeUndefined();
  });

  it.each([
    [{ ...base, username: undefined }, /username.*api_key/],
    [
      { ...base, application_credential_id: 'i', application_credential_secret: 's' },
      /application_credential/,
    ],
    [{ ...base, project: undefined }, /project/],
    [{ ...base, domain: undefined }, /domain/],
    [{ ...base, user_domain_name: 'x' }, /set together/],
    [{ ...base, auth_url: 'http://k/v2.0' }, /2018/],
    [{ ...base, default_security_groups: 'x' }, /default_security_groups/],
    [{ ...base, config_drive: 'tape' }, /config_drive/],
  ])('refuses %j', (openstack, problem) => {
    expect(() => configured(openstack)).toThrow(problem);
  });

  it('needs no scope with an application credential', () => {
    const { properties } = configured({
      auth_url: 'http://k/v3',
      application_credential_id: 'i',
      application_credential_secret: 's',
    });

    expect(properties.project).toBeUndefined();
  });
});
