import type { FastifyInstance } from 'fastify';
import { isJsonObject } from '@microbosh/errors';
import { isDenial } from '../../access/gatekeeper.ts';
import type { WriteCondition } from '../../ports/store.ts';
import { instanceIdOf, refuseId, requireAdmin } from '../admission.ts';
import { conditionFailed, fail, leased, notFound, parseEtags, quoteEtag } from '../answers.ts';
import { isInstanceId } from '../clean-path.ts';
import { callerOf, refuse } from '../context.ts';
import type { InstanceParams, RouteContext } from '../context.ts';

const PATH = '/instances/:id/settings';
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The three routes of the original, and the confirmation of a read. */
export function addSettingsRoutes(app: FastifyInstance, context: RouteContext): void {
  const { registry, access, metrics } = context;
  const adminOnly = { onRequest: requireAdmin(context, 'read-write') };

  app.get<InstanceParams>(PATH, async (request, reply) => {
    const { id } = request.params;
    if (!isInstanceId(id)) return refuseId(request, reply);
    const caller = callerOf(request, access);
    const grant = await access.gatekeeper.admitRead(caller, id);
    if (isDenial(grant)) {
      registry.countDenied(id);
      return refuse(context, request, reply, grant, { caller, instanceId: id });
    }
    request.identity = grant.identity;
    const row = grant.settings;
    if (!row) return notFound(request, reply);
    reply.header('etag', quoteEtag(row.etag));
    const known = parseEtags(request.headers['if-none-match']);
    if (known !== undefined && (known === '*' || known.includes(row.etag))) return reply.code(304).send();

    const document = await registry.open(row);
    if (request.method === 'GET') registry.countRead(id);
    metrics.countRead(grant.identity.kind);
    reply.header('content-type', 'application/json; charset=utf-8');
    return `{"status":"ok","settings":${JSON.stringify(decoder.decode(document))}}`;
  });

  app.put<InstanceParams>(PATH, adminOnly, async (request, reply) => {
    const { body } = request;
    const problem = problemOfDocument(body, context.requireJson);
    if (problem !== undefined || !(body instanceof Uint8Array)) {
      return fail(request, reply, 400, { code: 'E_REGISTRY_BAD_SETTINGS', message: problem ?? 'No body.' });
    }
    const outcome = await registry.write(request.params.id, body, {
      by: request.identity?.name ?? '',
      ...conditionsOf(request.headers),
    });
    if (outcome.kind === 'leased') return leased(request, reply, 423, outcome.lease);
    if (outcome.kind === 'condition-failed') return conditionFailed(request, reply, outcome.currentEtag);
    metrics.countWrite();
    return reply.header('etag', quoteEtag(outcome.etag)).send({ status: 'ok' });
  });

  app.delete<InstanceParams>(PATH, adminOnly, async (request, reply) => {
    const outcome = await registry.remove(request.params.id, conditionsOf(request.headers));
    if (outcome.kind === 'leased') return leased(request, reply, 423, outcome.lease);
    if (outcome.kind === 'condition-failed') return conditionFailed(request, reply, outcome.currentEtag);
    return { status: 'ok' };
  });

  app.post<InstanceParams>(`${PATH}/confirm`, async (request, reply) => {
    const id = instanceIdOf(request) ?? '';
    if (!isInstanceId(id)) return refuseId(request, reply);
    const caller = callerOf(request, access);
    const grant = await access.gatekeeper.admitToken(caller, id);
    if (isDenial(grant)) return refuse(context, request, reply, grant, { caller, instanceId: id });
    request.identity = grant.identity;
    if (grant.identity.kind !== 'token') return notFound(request, reply);
    const etags = parseEtags(request.headers['if-match']);
    const etag = etags === '*' ? undefined : etags?.[0];
    const outcome = await registry.store.confirmRead({
      instanceId: id,
      tokenHash: grant.identity.tokenHash,
      nowMs: registry.clock(),
      ...(etag === undefined ? {} : { etag }),
    });
    if (outcome === 'stale') return conditionFailed(request, reply, grant.settings?.etag);
    if (outcome === 'unusable') {
      return refuse(context, request, reply, { denied: 'spent-token' }, { caller, instanceId: id });
    }
    return { status: 'ok' };
  });
}

/** Of `If-Match`, `If-None-Match` and the lease of the caller. Plain requests have none of them. */
function conditionsOf(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): WriteCondition & { readonly leaseNonce?: string } {
  const ifMatch = parseEtags(single(headers['if-match']));
  const ifNoneMatch = parseEtags(single(headers['if-none-match']));
  const leaseNonce = single(headers['microbosh-lease']);
  return {
    ...(ifMatch === undefined ? {} : { ifMatch }),
    ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
    ...(leaseNonce === undefined ? {} : { leaseNonce }),
  };
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

/** Why the document cannot be stored: it would fail in the agent, and far later. Never quotes it. */
export function problemOfDocument(body: unknown, requireJson: boolean): string | undefined {
  if (!(body instanceof Uint8Array)) return 'The settings are empty.';
  let text: string;
  try {
    text = decoder.decode(body);
  } catch {
    return 'The settings are not UTF-8.';
  }
  if (text.trim() === '') return 'The settings are empty.';
  if (!requireJson) return undefined;
  try {
    const document: unknown = JSON.parse(text);
    return isJsonObject(document) ? undefined : 'The settings are not a JSON object.';
  } catch {
    return 'The settings are not JSON.';
  }
}
