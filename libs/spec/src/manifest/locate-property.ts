import { childOf, isNull, positionOf, type YamlNode } from '../yaml/yaml-node.ts';
import type { Position } from '../yaml/source-file.ts';

/**
 * A map of properties in the manifest: of the deployment, of the group, of one job, of the CPI; what `micro_bosh.yml`
 * says of the apply spec's properties.
 */
export type PropertyMap =
  'global' | 'group' | 'cloud' | 'apply_spec.properties' | 'apply_spec.agent' | { readonly job: string };

export interface PropertyOrigin {
  readonly position: Position;
  /** How many keys of the name are there; `position` is that of the last one, or of where the first would go. */
  readonly found: number;
}

/** Where a property is set, whatever file that part of the manifest came from. */
export type LocateProperty = (map: PropertyMap, keys: readonly string[]) => PropertyOrigin;

export function propertyLocator(root: YamlNode): LocateProperty {
  return (map, keys) => {
    const holder = holderOf(root, map);
    const properties = entryOf(holder, map === 'apply_spec.agent' ? 'agent' : 'properties');
    if (properties === undefined) return { position: positionOf(holder), found: 0 };
    let { node, position } = properties;
    let found = 0;
    for (const key of keys) {
      const entry = entryOf(node, key);
      if (entry === undefined || isNull(entry.node)) break;
      ({ node, position } = entry);
      found += 1;
    }
    return { position, found };
  };
}

function holderOf(root: YamlNode, map: PropertyMap): YamlNode {
  if (map === 'global') return root;
  if (map === 'cloud') return childOf(root, 'cloud_provider') ?? childOf(root, 'cloud') ?? root;
  if (map === 'apply_spec.agent' || map === 'apply_spec.properties')
    return childOf(root, 'apply_spec') ?? root;
  const groups = childOf(root, 'instance_groups') ?? childOf(root, 'jobs');
  const group = (groups?.kind === 'sequence' ? groups.items[0] : undefined) ?? root;
  if (map === 'group') return group;
  const jobs = childOf(group, 'jobs') ?? childOf(group, 'templates');
  const job = jobs?.kind === 'sequence' ? jobs.items.find((item) => nameOf(item) === map.job) : undefined;
  return job ?? group;
}

function nameOf(node: YamlNode): unknown {
  const name = childOf(node, 'name');
  return name?.kind === 'scalar' ? name.value : undefined;
}

/** The position is that of the key: the value may come from a variables file. */
function entryOf(node: YamlNode, key: string): { node: YamlNode; position: Position } | undefined {
  const entry = node.kind === 'mapping' ? node.entries.get(key) : undefined;
  return entry === undefined ? undefined : { node: entry.value, position: positionOf(entry.key) };
}
