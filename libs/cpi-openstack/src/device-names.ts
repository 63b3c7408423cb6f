import { CloudError } from '@microbosh/cpi';

/**
 * The device name to ask for when a volume is attached: `/dev/sd?`, the first letter that no attached device has under
 * any of its three names. Ephemeral disk, swap and a disk-type config drive take the letters from `b` on.
 */
export function nextDeviceName(
  taken: readonly string[],
  occupied: { readonly ephemeral: boolean; readonly swap: boolean; readonly configDriveDisk: boolean },
): string {
  const first =
    'b'.charCodeAt(0) + Number(occupied.ephemeral) + Number(occupied.swap) + Number(occupied.configDriveDisk);
  const letters = new Set(taken.map((device) => /^\/dev\/(?:sd|vd|xvd)([a-z])/.exec(device)?.[1]));
  for (let code = first; code <= 'z'.charCodeAt(0); code += 1) {
    const letter = String.fromCharCode(code);
    if (!letters.has(letter)) return `/dev/sd${letter}`;
  }
  throw new CloudError('Server has too many disks attached');
}
