export * from './command-runner.ts';
export * from './durable-file.ts';
export * from './retry.ts';
export * from './secrets.ts';
