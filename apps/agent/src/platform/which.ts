import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';

/** The full path of a program on PATH; undefined when this machine does not have it. */
export async function which(program: string): Promise<string | undefined> {
  const directories = (process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin').split(':');
  const candidates = await Promise.all(
    directories.map(async (directory) => {
      const path = join(directory, program);
      return access(path, constants.X_OK).then(
        () => path,
        () => undefined,
      );
    }),
  );
  return candidates.find((path) => path !== undefined);
}
