import { CloudError } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';

export interface ApiVersion {
  /** `5.5`, `36.0`, … */
  readonly name: string;
  readonly number: number;
  readonly loginUrl: string | undefined;
}

const oldest = [5.1, 5.5, 5.6];
const first = 29;
const last = 39;

/** What this CPI speaks. */
function isKnown(version: number): boolean {
  return oldest.includes(version) || (version >= first && version <= last);
}

/** The highest version that both sides know, from the document at `/api/versions`. */
export function chooseVersion(versions: XmlNode, url: string): ApiVersion {
  const offered = versions.all('VersionInfo').flatMap((info): ApiVersion[] => {
    const name = info.textAt('Version') ?? '';
    // Previews have names like 39.0.0-alpha.
    return /^\d+\.\d+$/.test(name) ? [{ name, number: Number(name), loginUrl: info.textAt('LoginUrl') }] : [];
  });
  const [best] = offered.filter(({ number }) => isKnown(number)).sort((a, b) => b.number - a.number);
  if (best !== undefined) return best;
  const names = offered.map(({ name }) => name).join(', ');
  throw new CloudError(`${url} offers no version of the vCloud API that this CPI knows`, {
    advice: `It offers: ${names || 'none'}. Known are ${oldest.join(', ')} and ${first}.0 to ${last}.0.`,
  });
}
