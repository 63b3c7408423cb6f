export * from './compose.ts';
export * from './dummy-host.ts';
export type * from './ports/host.ts';
export type * from './ports/log.ts';
