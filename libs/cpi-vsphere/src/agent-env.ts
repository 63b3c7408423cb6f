import { CloudError, isoImage } from '@microbosh/cpi';
import type { JsonObject } from '@microbosh/errors';
import type { VsphereCloud } from './cloud.ts';
import { object, typedText } from './data-objects.ts';
import type { DataObject, Ref } from './data-objects.ts';
import { deviceChange, Devices } from './devices.ts';

type Signal = AbortSignal | undefined;

/** `[datastore] directory/file` of the VM's own file, taken apart. */
export function directoryOf(vmPathName: string): { readonly datastore: string; readonly directory: string } {
  const [, datastore, directory] = /^\[([^\]]+)\] (.+)\/[^/]+$/.exec(vmPathName) ?? [];
  if (datastore === undefined || directory === undefined) {
    throw new CloudError(`The VM has its file at '${vmPathName}', which is no place in a datastore`);
  }
  return { datastore, directory };
}

/** Name of the file beside the VM's own. */
export const isoName = 'env.iso';

/** Puts the settings on the VM's CD-ROM and into its guestinfo; agents read whichever they know. */
export async function deliverSettings(
  cloud: VsphereCloud,
  vm: Ref,
  settings: JsonObject,
  signal: Signal,
): Promise<void> {
  const { client } = cloud;
  const found = await client.find(vm, ['config.hardware.device', 'config.files.vmPathName'], signal);
  const { cdrom } = new Devices(found?.properties['config.hardware.device']);
  const { datastore, directory } = directoryOf(found?.properties['config.files.vmPathName']?.text ?? '');
  const text = Buffer.from(JSON.stringify(settings));
  await client.putFile(datastore, `${directory}/${isoName}`, isoImage('ENV', text), signal);
  const device = object('VirtualCdrom', {
    key: cdrom.numberAt('key'),
    backing: object('VirtualCdromIsoBackingInfo', { fileName: `[${datastore}] ${directory}/${isoName}` }),
    connectable: object('VirtualDeviceConnectInfo', {
      startConnected: true,
      allowGuestControl: false,
      connected: true,
    }),
    controllerKey: cdrom.numberAt('controllerKey'),
    unitNumber: cdrom.numberAt('unitNumber'),
  });
  const spec = object('VirtualMachineConfigSpec', {
    deviceChange: [deviceChange('edit', device)],
    extraConfig: [
      option('guestinfo.userdata', text.toString('base64')),
      option('guestinfo.userdata.encoding', 'base64'),
    ],
  });
  await client.task(vm, 'ReconfigVM_Task', { spec }, signal);
}

export function option(key: string, value: string): DataObject {
  return object('OptionValue', { key, value: typedText(value) });
}
