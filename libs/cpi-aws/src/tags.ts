import type { Tag } from '@aws-sdk/client-ec2';
import { isJsonObject } from '@microbosh/errors';
import type { Json } from '@microbosh/errors';

/** Name of the tag that carries the idempotency token of the call that made the resource. */
export const tokenTag = 'microbosh-token';

/** Of a network interface: the instance that it belongs to. */
export const vmTag = 'microbosh-vm';

/** Of an instance: its create_vm came to its end. */
export const completeTag = 'microbosh-complete';

/** Of a snapshot: the image that is being deleted, to which it belongs. */
export const imageTag = 'microbosh-image';

/** Tags of EC2: keys of 127 characters, values of 255; nulls are dropped. */
export function tagsOf(...layers: readonly (Json | undefined)[]): Tag[] {
  const merged = new Map<string, string>();
  for (const layer of layers) {
    if (!isJsonObject(layer)) continue;
    for (const [key, value] of Object.entries(layer)) {
      if (value === null) continue;
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      merged.set(key.slice(0, 127), text.slice(0, 255));
    }
  }
  return [...merged].map(([Key, Value]) => ({ Key, Value }));
}

export function tokenTags(token: string | undefined): { readonly [tokenTag]?: string } {
  return token === undefined ? {} : { [tokenTag]: token };
}
