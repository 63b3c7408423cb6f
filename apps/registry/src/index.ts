export { runCli } from './cli.ts';
export { loadConfig, parseConfig } from './config/load.ts';
export { ConfigDocument } from './config/schema.ts';
