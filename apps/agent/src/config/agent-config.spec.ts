import { describe, expect, it } from 'vitest';
import { parseAgentConfig } from './agent-config.ts';
import { parseCommandLine } from './command-line.ts';

const openstack = {
  Platform: {
    Linux: {
      CreatePartitionIfNoEphemeralDisk: true,
      DevicePathResolutionType: 'virtio',
      PartitionerType: 'parted',
    },
  },
  Infrastructure: {
    Settings: {
      Sources: [
        { Type: 'File', SettingsPath: '/var/vcap/bosh/agent-bootstrap-env.json' },
        {
          Type: 'ConfigDrive',
          DiskPaths: ['/dev/disk/by-label/CONFIG-2'],
          MetaDataPath: 'ec2/latest/meta-data.json',
          UserDataPath: 'ec2/latest/user-data',
        },
        { Type: 'HTTP', URI: 'http://169.254.169.254', UserDataPath: '/latest/user-data' },
      ],
      UseServerName: true,
      UseRegistry: true,
    },
  },
};

describe('parseAgentConfig', () => {
  it('reads the file that OpenStack stemcells carry', () => {
    const config = parseAgentConfig(openstack);

    expect(config.linux.DevicePathResolutionType).toBe('virtio');
    expect(config.linux.InstanceStorageDevicePattern).toBe('/dev/nvme*n1');
    expect(config.settings.sources.map((source) => source.Type)).toEqual(['File', 'ConfigDrive', 'HTTP']);
    expect(config.settings).toMatchObject({ useServerName: true, useRegistry: true });
  });

  it('has a default for every key', () => {
    const config = parseAgentConfig({});

    expect(config.settings).toEqual({ sources: [], useServerName: false, useRegistry: false });
    expect(config.linux.Container).toBe(false);
  });

  it('matches keys in any case and ignores unknown ones', () => {
    const config = parseAgentConfig({ platform: { LINUX: { skipdisksetup: true, Novel: 1 } } });

    expect(config.linux.SkipDiskSetup).toBe(true);
  });

  it.each([
    [{ Infrastructure: { Settings: { Sources: [{}] } } }, /Missing source type/],
    [{ Infrastructure: { Settings: { Sources: [{ Type: 'Tape' }] } } }, /Unknown source type 'Tape'/],
    [{ Platform: { Linux: { PartitionerType: 'fdisk' } } }, /Platform.Linux.PartitionerType/],
    [{ Platform: [] }, /Platform must be a JSON object/],
  ])('refuses %j', (document, problem) => {
    expect(() => parseAgentConfig(document)).toThrow(problem);
  });
});

describe('parseCommandLine', () => {
  it('reads the flags of the original agent', () => {
    const line = parseCommandLine(['-P', 'ubuntu', '-C', '/a/agent.json', '-b=/base', '--M', 'builtin']);

    expect(line).toEqual({
      platform: 'ubuntu',
      configPath: '/a/agent.json',
      baseDir: '/base',
      supervisor: 'builtin',
      printVersion: false,
      printBootstrapReport: false,
    });
  });

  it('shows the report of the last bootstrap when it is asked for', () => {
    expect(parseCommandLine(['bootstrap-report', '-b', '/base'])).toMatchObject({
      printBootstrapReport: true,
      baseDir: '/base',
    });
  });

  it('accepts and ignores -r and -no-alerts', () => {
    expect(parseCommandLine(['-no-alerts', '-r', '/']).supervisor).toBe('monit');
  });

  it.each([[['-P', 'beos']], [['-M', 'runit']], [['--nonsense']], [['nonsense']], [['-C']]])(
    'refuses %j',
    (args) => {
      expect(() => parseCommandLine(args)).toThrow();
    },
  );
});
