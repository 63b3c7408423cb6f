import { join } from 'node:path';

/** Where `customize.sh` and the overlays are. The packaged program has this module replaced by its own. */
export function libraryFolder(): string {
  return join(import.meta.dirname, '..');
}
