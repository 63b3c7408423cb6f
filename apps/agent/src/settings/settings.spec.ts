import { describe, expect, it } from 'vitest';
import { machineSettings } from '../testing/machine-settings.ts';
import { decodeRegistryAnswer } from './registry.ts';
import { decodeUserData, parseSettings, parseUserData } from './settings-document.ts';
import { parseCdromInfo } from './sources/cdrom-source.ts';
import { decodeGuestInfo } from './sources/vsphere-guest-info-source.ts';
import { splitBundle } from './trusted-certificates.ts';
import { effectiveSettings, mergeUpdate } from './update-settings.ts';
import { gzipSync } from 'node:zlib';

const settings = (extra: object = {}) => parseSettings({ ...machineSettings(['a']), ...extra }, 'a test');

describe('the settings document', () => {
  it('is refused without an agent id, naming the member', () => {
    expect(() => settings({ agent_id: '' })).toThrow(/agent_id/);
  });

  it('takes keys in any case, numbers in disk hints, and a network without a type', () => {
    const parsed = parseSettings(
      {
        Agent_ID: 'x',
        MBUS: 'https://u:p@h:1',
        networks: { n: { ip: '10.0.0.1', default: null } },
        disks: { ephemeral: { id: 7 }, persistent: { d: '/dev/sdf' } },
      },
      'a test',
    );

    expect(parsed).toMatchObject({
      agent_id: 'x',
      networks: { n: { type: 'manual' } },
      disks: { ephemeral: { id: '7' }, persistent: { d: '/dev/sdf' } },
    });
  });

  it('names a member of the wrong type and quotes no value', () => {
    expect(() => settings({ ntp: ['a', 5] })).toThrow(/ntp/);
    expect(() => settings({ mbus: { secret: 'hunter22' } })).toThrow(/^(?!.*hunter22)/);
  });
});

describe('user data', () => {
  const document = {
    registry: { endpoint: 'https://k:t@10.0.0.1:25777', ca: 'PEM' },
    server: { name: 'vm-1' },
  };

  it.each([
    ['JSON', JSON.stringify(document)],
    ['base64url', Buffer.from(JSON.stringify(document)).toString('base64url')],
    ['base64url in quotes', `"${Buffer.from(JSON.stringify(document)).toString('base64url')}"`],
  ])('is read as %s', (_, text) => {
    expect(parseUserData(decodeUserData(text, 'a test'), 'a test')).toEqual(document);
  });

  it('is refused when it is neither', () => {
    expect(() => decodeUserData('#!/bin/sh', 'a test')).toThrow(/neither a JSON object nor base64/);
  });
});

describe('the answer of a registry', () => {
  it('holds the settings as a string, under a key in any case', () => {
    expect(decodeRegistryAnswer('{"Settings":"{\\"agent_id\\":\\"a\\"}"}', 'It')).toEqual({ agent_id: 'a' });
  });

  it.each(['<html>', '{}', '{"settings":{}}', '{"settings":"[]"}', '{"settings":"hunter22"}'])(
    'is refused without being quoted: %s',
    (body) => {
      expect(() => decodeRegistryAnswer(body, 'It')).toThrow(
        /^It gave an answer that is not valid: (?!.*hunter22)/,
      );
    },
  );
});

describe('effective settings', () => {
  const env = {
    bosh: {
      mbus: { urls: ['nats://env:4222'], cert: { ca: 'env' } },
      blobstores: [{ provider: 'dav', options: {} }],
      ntp: [],
    },
  };

  it('prefer env.bosh over the top level', () => {
    expect(effectiveSettings(settings({ env, ntp: ['x'] }), {})).toMatchObject({
      mbus: 'nats://env:4222',
      blobstore: { provider: 'dav' },
      ntp: [],
    });
  });

  it('prefer update_settings over both', () => {
    const update = {
      mbus: { urls: ['nats://new:4222'], cert: { ca: 'new' } },
      blobstores: [{ provider: 's3' }],
    };

    expect(effectiveSettings(settings({ env }), update)).toMatchObject({
      mbus: 'nats://new:4222',
      blobstore: { provider: 's3' },
      env: { bosh: { mbus: { cert: { ca: 'new' } } } },
    });
  });

  it('ask for a restart only when the message bus or the blobstores differ', () => {
    const current = { mbus: { urls: ['a'] }, blobstores: [] };

    expect(mergeUpdate(current, { trusted_certs: 'x' }).restart).toBe(false);
    expect(mergeUpdate(current, { mbus: { urls: [] } }).restart).toBe(false);
    expect(mergeUpdate(current, { mbus: { urls: ['b'] } }).restart).toBe(true);
    expect(mergeUpdate(current, { blobstores: [{ provider: 'p' }] }).restart).toBe(true);
  });
});

describe('small formats', () => {
  it('finds the first CD-ROM drive of the kernel', () => {
    expect(parseCdromInfo('CD-ROM information, Id: cdrom.c 3.20\n\ndrive name:\t\tsr1\tsr0\n')).toBe('sr0');
    expect(parseCdromInfo('drive name:\n')).toBeUndefined();
  });

  it('decodes guest info, compressed or not', () => {
    expect(decodeGuestInfo(Buffer.from('{"a":1}').toString('base64'))).toBe('{"a":1}');
    expect(decodeGuestInfo(gzipSync('{"a":1}').toString('base64'))).toBe('{"a":1}');
  });

  it('drops the text between certificates', () => {
    const pem = '-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----';

    expect(splitBundle(`# one\n${pem}\nnoise\n${pem}`)).toEqual([`${pem}\n`, `${pem}\n`]);
    expect(splitBundle('')).toEqual([]);
  });
});
