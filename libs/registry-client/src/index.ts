export * from './registry-client.ts';
export * from './registry-errors.ts';
