import type { CpiConfig } from '@microbosh/cpi';
import { NodeCommandRunner } from '@microbosh/host';
import { QemuCpi } from './qemu-cpi.ts';
import { readQemuConfig } from './qemu-config.ts';

export * from './qemu-errors.ts';
export { withQmp, type QmpClient, type QmpOptions } from './qmp-client.ts';

export const createQemuCpi = (config: CpiConfig): QemuCpi =>
  new QemuCpi(new NodeCommandRunner(), readQemuConfig(config, process.getuid?.() === 0));
