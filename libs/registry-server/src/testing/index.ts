export * from './builders.ts';
export * from './certificates.ts';
export * from './postgres-server.ts';
export * from './running-registry.ts';
