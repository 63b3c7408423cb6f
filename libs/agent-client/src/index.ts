export * from './agent-client.ts';
export * from './agent-url.ts';
export * from './errors.ts';
