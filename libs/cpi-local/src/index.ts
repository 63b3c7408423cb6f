export { createLocalCpi, LocalCpi } from './local-cpi.ts';
export { defaultRootDir } from './local-config.ts';
