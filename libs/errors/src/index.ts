export * from './operational-error.ts';
export * from './json.ts';
export * from './messages.ts';
