/** vCPUs and MiB of memory of the types that calculate_vm_cloud_properties chooses from, smallest first. */
const sizes: readonly (readonly [type: string, cpu: number, ramMiB: number])[] = [
  ['t2.nano', 1, 512],
  ['t2.micro', 1, 1024],
  ['t2.small', 1, 2048],
  ['c5.large', 2, 4096],
  ['m5.large', 2, 8192],
  ['r5.large', 2, 16384],
  ['c5.xlarge', 4, 8192],
  ['m5.xlarge', 4, 16384],
  ['r5.xlarge', 4, 32768],
  ['c5.2xlarge', 8, 16384],
  ['m5.2xlarge', 8, 32768],
  ['r5.2xlarge', 8, 65536],
  ['c5.4xlarge', 16, 32768],
  ['m5.4xlarge', 16, 65536],
  ['r5.4xlarge', 16, 131072],
  ['c5.9xlarge', 36, 73728],
  ['m5.8xlarge', 32, 131072],
  ['r5.8xlarge', 32, 262144],
  ['c5.12xlarge', 48, 98304],
  ['m5.12xlarge', 48, 196608],
  ['r5.12xlarge', 48, 393216],
  ['m5.16xlarge', 64, 262144],
  ['r5.16xlarge', 64, 524288],
];

export function smallestInstanceType(cpu: number, ramMiB: number): string | undefined {
  return sizes.find(([, cpus, ram]) => cpus >= cpu && ram >= ramMiB)?.[0];
}
