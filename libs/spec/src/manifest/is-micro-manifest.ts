/** Whether a manifest is one of the micro plug-in rather than of create-env: by its root keys, before it is parsed. */
export function isMicroManifest(text: string): boolean {
  const hasKey = (name: string) => new RegExp(`^(?:\\{.*)?["']?${name}["']?[ \\t]*:`, 'm').test(text);
  return hasKey('cloud') && !['cloud_provider', 'instance_groups', 'jobs'].some(hasKey);
}
