export * from './command-runner.ts';
export * from './directory-lock.ts';
export * from './durable-file.ts';
export * from './ipv4.ts';
export * from './process-folder.ts';
export * from './retry.ts';
export * from './secrets.ts';
