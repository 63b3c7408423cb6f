import { isAbsolute, normalize } from 'node:path';
import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { GenericCpiError, InvalidCall, type CpiConfig } from '@microbosh/cpi';
import type { PortForward } from './qemu-arguments.ts';

export const defaultRootDir = '/var/lib/microbosh/qemu';

/** `bridge`: the VMs' addresses are reached from this machine, which takes root. `user`: forwarded ports only. */
export type NetworkMode = 'bridge' | 'user';

/** `cloud.properties.qemu` and what all CPIs share. */
export interface QemuConfig {
  /** Everything that belongs to this CPI's VMs, disks and stemcells. */
  readonly rootDir: string;
  readonly networkMode: NetworkMode;
  /** Subnet for networks of type dynamic. */
  readonly dynamicSubnet: string;
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  readonly agent: JsonObject;
  readonly registry: CpiConfig['cloud']['properties']['registry'];
}

const knownKeys = ['root_dir', 'network', 'dynamic_subnet', 'accelerator'];

export function readQemuConfig(config: CpiConfig, isRoot: boolean): QemuConfig {
  const properties = config.cloud.properties;
  const qemu = properties['qemu'] ?? {};
  if (!isJsonObject(qemu)) throw new GenericCpiError("'cloud.properties.qemu' must be a map");
  for (const key of Object.keys(qemu)) {
    if (knownKeys.includes(key)) continue;
    throw new GenericCpiError(`Unknown key 'cloud.properties.qemu.${key}'`, {
      advice: `Known keys are ${knownKeys.join(', ')}.`,
    });
  }
  const rootDir = qemu['root_dir'] ?? defaultRootDir;
  if (typeof rootDir !== 'string' || !isAbsolute(rootDir)) {
    throw new GenericCpiError("'cloud.properties.qemu.root_dir' must be an absolute path");
  }
  // vms/vm-<20 digits>/qmp.sock is appended, and the path of a socket has at most 107 bytes.
  if (Buffer.byteLength(rootDir) > 65) {
    throw new GenericCpiError("'cloud.properties.qemu.root_dir' is longer than 65 bytes", {
      advice: 'Choose a shorter path: the control sockets of the VMs lie in it.',
    });
  }
  const dynamicSubnet = qemu['dynamic_subnet'] ?? '10.254.0.0/24';
  if (typeof dynamicSubnet !== 'string') {
    throw new GenericCpiError("'cloud.properties.qemu.dynamic_subnet' must be a string");
  }
  return {
    rootDir: normalize(rootDir).replace(/(?<=.)\/$/, ''),
    networkMode: oneOf(qemu['network'] ?? (isRoot ? 'bridge' : 'user'), ['bridge', 'user'], 'network'),
    dynamicSubnet,
    accelerator: oneOf(qemu['accelerator'] ?? 'auto', ['auto', 'kvm', 'tcg'], 'accelerator'),
    agent: properties.agent ?? {},
    registry: properties.registry,
  };
}

function oneOf<T extends string>(value: Json, allowed: readonly T[], key: string): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw new GenericCpiError(`'cloud.properties.qemu.${key}' must be one of ${allowed.join(', ')}`);
}

/** `cloud_properties` of a VM. */
export interface VmProperties {
  readonly cpus: number;
  readonly memoryMiB: number;
  /** The image's root file system grows to it. */
  readonly rootDiskMiB: number;
  /** 0: the agent uses what is free of the root disk. */
  readonly ephemeralDiskMiB: number;
  /** Network mode `user` only. */
  readonly ports: readonly PortForward[];
}

export function readVmProperties(properties: JsonObject): VmProperties {
  return {
    cpus: wholeNumber(properties, 'cpu', 1, 1, 64),
    memoryMiB: wholeNumber(properties, 'memory', 1024, 128, 1 << 20),
    rootDiskMiB: wholeNumber(properties, 'root_disk', 10_240, 0, 1 << 24),
    ephemeralDiskMiB: wholeNumber(properties, 'ephemeral_disk', 0, 0, 1 << 24),
    ports: readPorts(properties['ports'] ?? []),
  };
}

function wholeNumber(
  properties: JsonObject,
  key: string,
  fallback: number,
  least: number,
  most: number,
): number {
  const value = properties[key] ?? fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new InvalidCall(`cloud_properties.${key} must be a whole number from ${least} to ${most}`);
}

/** `- 6868`, `- 8443:443`, `- 127.0.0.1:8443:443`, as Docker writes them. */
function readPorts(value: Json): PortForward[] {
  if (!Array.isArray(value)) throw new InvalidCall('cloud_properties.ports must be a list');
  return value.map((entry: Json) => {
    const text = typeof entry === 'string' ? entry : JSON.stringify(entry);
    const match = /^(?:(\d+\.\d+\.\d+\.\d+):)?(?:(\d{1,5}):)?(\d{1,5})$/.exec(text);
    const guestPort = Number(match?.[3]);
    const hostPort = Number(match?.[2] ?? match?.[3]);
    if (!match || !isPort(guestPort) || !isPort(hostPort)) {
      throw new InvalidCall(`cloud_properties.ports: '${text}' is not [[ADDRESS:]PORT:]PORT`);
    }
    return { hostAddress: match[1] ?? '127.0.0.1', hostPort, guestPort };
  });
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value < 65_536;
}
