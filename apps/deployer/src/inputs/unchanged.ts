import { readFile, stat } from 'node:fs/promises';
import { connect } from 'node:tls';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { bare } from '../access/proxy-route.ts';
import type { ProxyRoute } from '../access/proxy-route.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import type { RememberedInputs } from '../state/environment-state.ts';

const reachableMs = 500;

/**
 * Whether the last deploy went through with this very manifest and with these very files, and its agent answers. Cheap, and
 * says no when in doubt: the full comparison follows then.
 */
export async function isUnchanged(
  paths: EnvironmentPaths,
  manifestSha: string,
  route?: ProxyRoute,
): Promise<boolean> {
  const state = parse(await readFile(paths.state, 'utf8').catch(() => ''));
  if (state?.['current_manifest_sha'] !== manifestSha) return false;
  const own = state['microbosh'];
  if (!isJsonObject(own) || typeof own['deployed'] !== 'string') return false;
  const { leftover_vms: leftovers, artifacts } = own;
  if (!Array.isArray(leftovers) || leftovers.length > 0 || !Array.isArray(artifacts)) return false;
  if (own['previous'] !== undefined) return false;
  const disks = state['disks'];
  const keptUntil = isJsonObject(own['kept_until']) ? Object.values(own['kept_until']) : [];
  const now = new Date().toISOString();
  if (keptUntil.some((moment) => typeof moment !== 'string' || moment <= now)) return false;
  if (Array.isArray(disks) && disks.length > 1 + keptUntil.length) return false;
  if ((await readFile(paths.journal, 'utf8').catch(() => '')) !== '') return false;
  for (const artifact of artifacts) {
    if (!isJsonObject(artifact) || !(await isSameFile(artifact))) return false;
  }
  return isReachable(own['endpoint'], route);
}

/**
 * One handshake, without a word: the cloud is asked what became of a VM whose agent takes none. A bare connection would say
 * less: there are networks that accept one for every address.
 */
async function isReachable(endpoint: Json | undefined, route: ProxyRoute | undefined): Promise<boolean> {
  if (!isJsonObject(endpoint)) return false;
  const { mbus, ca } = endpoint;
  if (typeof mbus !== 'string' || typeof ca !== 'string' || !URL.canParse(mbus)) return false;
  const { hostname, port } = new URL(mbus);
  const peer = { host: bare(hostname), port: Number(port === '' ? 443 : port) };
  const through = await route?.dial(peer.host, peer.port, reachableMs * 4).catch(() => undefined);
  if (route !== undefined && through === undefined) return false;
  const socket = connect({
    ...(through === undefined ? peer : { socket: through }),
    ...(ca === '' ? { rejectUnauthorized: false } : { ca }),
    // Nothing is sent: the name is for those who do.
    checkServerIdentity: () => undefined,
  });
  return new Promise((resolve) => {
    const end = (reachable: boolean) => {
      socket.destroy();
      resolve(reachable);
    };
    socket.setTimeout(reachableMs, () => end(false));
    socket.once('secureConnect', () => end(true));
    socket.once('error', () => end(false));
  });
}

async function isSameFile(artifact: JsonObject): Promise<boolean> {
  if (typeof artifact['path'] !== 'string') return false;
  const found = await stat(artifact['path'], { bigint: true }).catch(() => undefined);
  return (
    found !== undefined &&
    Number(found.size) === artifact['size'] &&
    String(found.mtimeNs) === artifact['modified_ns'] &&
    String(found.ino) === artifact['inode']
  );
}

function parse(text: string): JsonObject | undefined {
  try {
    const document: unknown = JSON.parse(text);
    return isJsonObject(document) ? document : undefined;
  } catch {
    return undefined;
  }
}

/** The stemcell of a micro deployment, which its manifest does not name: that of the last deploy. */
export async function withRememberedStemcell(
  inputs: RememberedInputs,
  paths: EnvironmentPaths,
): Promise<RememberedInputs> {
  const own = parse(await readFile(paths.state, 'utf8').catch(() => ''))?.['microbosh'];
  const remembered = own !== undefined && isJsonObject(own) ? own['inputs'] : undefined;
  if (remembered === undefined || !isJsonObject(remembered)) return inputs;
  const { stemcell, stemcellSha1 } = remembered;
  return {
    ...inputs,
    ...(typeof stemcell === 'string' ? { stemcell } : {}),
    ...(typeof stemcellSha1 === 'string' ? { stemcellSha1 } : {}),
  };
}
