import { readFile } from 'node:fs/promises';

export interface MountEntry {
  /** `major:minor` of the file system's device. */
  readonly device: string;
  /** What of the file system is mounted: `/`, or the directory behind a bind mount. */
  readonly root: string;
  readonly mountPoint: string;
  /** Flags of this mount: `rw`, `nosuid`, … */
  readonly options: readonly string[];
  readonly fsType: string;
  readonly source: string;
}

/**
 * @example parseMountInfo('36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n')[0]?.device === '98:0'
 */
export function parseMountInfo(text: string): readonly MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const [left, right] = line.split(' - ');
    if (left === undefined || right === undefined) return [];
    const [, , device, root, mountPoint, options] = left.split(' ');
    const [fsType, source] = right.split(' ');
    if (device === undefined || root === undefined || mountPoint === undefined) return [];
    return [
      {
        device,
        root: unescape(root),
        mountPoint: unescape(mountPoint),
        options: options?.split(',') ?? [],
        fsType: fsType ?? '',
        source: unescape(source ?? ''),
      },
    ];
  });
}

/** The kernel writes space, tab, newline and backslash as octal. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

export class MountTable {
  readonly entries: readonly MountEntry[];

  constructor(entries: readonly MountEntry[]) {
    this.entries = entries;
  }

  static async read(): Promise<MountTable> {
    return new MountTable(parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8')));
  }

  /** What is on top at a mount point. */
  at(mountPoint: string): MountEntry | undefined {
    return this.entries.findLast((entry) => entry.mountPoint === mountPoint);
  }

  /** Where a device is mounted. */
  of(device: string): readonly MountEntry[] {
    return this.entries.filter((entry) => entry.device === device);
  }
}
