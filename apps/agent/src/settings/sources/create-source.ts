import type { CommandRunner } from '@microbosh/host';
import type { SettingsSourceOptions } from '../../config/agent-config.ts';
import { CdromSource } from './cdrom-source.ts';
import { ConfigDriveSource } from './config-drive-source.ts';
import { FileSource } from './file-source.ts';
import { HttpSource } from './http-source.ts';
import { InstanceMetadataSource } from './instance-metadata-source.ts';
import type { SettingsSource } from './settings-source.ts';
import { VsphereGuestInfoSource } from './vsphere-guest-info-source.ts';

export function createSource(options: SettingsSourceOptions, runner: CommandRunner): SettingsSource {
  switch (options.Type) {
    case 'HTTP':
      return new HttpSource(options);
    case 'InstanceMetadata':
      return new InstanceMetadataSource(options);
    case 'ConfigDrive':
      return new ConfigDriveSource(options, runner);
    case 'File':
      return new FileSource(options);
    case 'CDROM':
      return new CdromSource(options, runner);
    case 'VsphereGuestInfo':
      return new VsphereGuestInfoSource(options, runner);
  }
}
