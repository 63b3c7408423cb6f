/** Keys and values of OpenStack's metadata hold 255 characters. */
export function metadataOf(
  metadata: Readonly<Record<string, string | null | undefined>>,
): Record<string, string> {
  const cut: Record<string, string> = {};
  for (const [key, value] of Object.entries(metadata)) {
    if (value !== null && value !== undefined) cut[key.slice(0, 255)] = value.slice(0, 255);
  }
  return cut;
}

/** Cinder counts in GiB; sizes of the contract are MiB. */
export function gibibytes(sizeMiB: number): number {
  return Math.ceil(sizeMiB / 1024);
}
