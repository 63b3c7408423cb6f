import { readTextIfPresent } from './files.ts';

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** @example parsePasswd('vcap:x:1000:1000:BOSH:/home/vcap:/bin/bash\n')[0]?.home === '/home/vcap' */
export function parsePasswd(text: string): readonly Account[] {
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid, , home] = line.split(':');
    if (!name || !uid || !gid || home === undefined) return [];
    return [{ name, uid: Number(uid), gid: Number(gid), home }];
  });
}

/** Group id by name. */
export function parseGroups(text: string): ReadonlyMap<string, number> {
  return new Map(
    text.split('\n').flatMap((line): [string, number][] => {
      const [name, , gid] = line.split(':');
      return name && gid ? [[name, Number(gid)]] : [];
    }),
  );
}

/** Password field by user name. */
export function parseShadow(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split('\n').flatMap((line): [string, string][] => {
      const [name, hash] = line.split(':');
      return name && hash !== undefined ? [[name, hash]] : [];
    }),
  );
}

export async function accountOf(name: string): Promise<Account | undefined> {
  return parsePasswd((await readTextIfPresent('/etc/passwd')) ?? '').find((account) => account.name === name);
}

/** Group of the first name that this machine has; root's when it has none of them. */
export async function groupId(...names: readonly string[]): Promise<number> {
  const groups = parseGroups((await readTextIfPresent('/etc/group')) ?? '');
  for (const name of names) {
    const gid = groups.get(name);
    if (gid !== undefined) return gid;
  }
  return 0;
}
