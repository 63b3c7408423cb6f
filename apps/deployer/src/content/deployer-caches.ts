import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where this machine keeps what the operator's environments share. All of it can be made or fetched again. */
export interface DeployerCaches {
  /** Verified downloads, by digest. */
  readonly downloads: string;
  /** Packages that were compiled on a VM. */
  readonly compiled: string;
  /** Packages of CPI releases, compiled here. */
  readonly cpi: string;
  /** Rendered templates, sealed. */
  readonly rendered: string;
  /** Files of the packaged program itself. */
  readonly runtime: string;
}

export function deployerCaches(env: Readonly<Record<string, string | undefined>>): DeployerCaches {
  const folder = (name: string) => join(env['HOME'] ?? homedir(), '.microbosh', 'cache', name);
  return {
    downloads: folder('downloads'),
    compiled: folder('compiled'),
    cpi: folder('cpi'),
    rendered: folder('rendered'),
    runtime: folder('runtime'),
  };
}
