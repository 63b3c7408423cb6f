import { randomBytes } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { hashReadToken } from '../../access/read-tokens.ts';
import type { LeaseRow } from '../../ports/store.ts';
import { requireAdmin } from '../admission.ts';
import { fail, leased, notFound } from '../answers.ts';
import type { InstanceParams, RouteContext } from '../context.ts';
import { LeaseBody, parseBody } from '../schemas.ts';

const PATH = '/instances/:id/lease';

/** Leases: who drives an instance now. The nonce is the proof; only its digest is stored. */
export function addLeaseRoutes(app: FastifyInstance, context: RouteContext): void {
  const { registry } = context;
  const writers = { onRequest: requireAdmin(context, 'read-write') };
  const readers = { onRequest: requireAdmin(context, 'read-only') };

  app.put<InstanceParams>(PATH, writers, async (request, reply) => {
    const parsed = parseBody(LeaseBody, request.body);
    if ('problem' in parsed) {
      return fail(request, reply, 400, { code: 'E_REGISTRY_BAD_REQUEST', message: parsed.problem });
    }
    const { owner, ttl_seconds: ttlSeconds, exclusive } = parsed.value;
    const nonce = parsed.value.nonce ?? randomBytes(24).toString('base64url');
    const nowMs = registry.clock();
    const outcome = await registry.store.acquireLease({
      instanceId: request.params.id,
      owner,
      nonceHash: hashReadToken(nonce),
      exclusive: exclusive ?? false,
      acquiredAtMs: nowMs,
      expiresAtMs: nowMs + ttlSeconds * 1000,
    });
    if (!outcome.acquired) return leased(request, reply, 409, outcome.lease);
    return { status: 'ok', nonce, ...describe(outcome.lease) };
  });

  app.get<InstanceParams>(PATH, readers, async (request, reply) => {
    const lease = await registry.store.readLease(request.params.id, registry.clock());
    return lease ? { status: 'ok', ...describe(lease) } : notFound(request, reply);
  });

  app.delete<InstanceParams>(PATH, writers, async (request, reply) => {
    const nonce = request.headers['microbosh-lease'];
    const released =
      typeof nonce === 'string' &&
      (await registry.store.releaseLease(request.params.id, hashReadToken(nonce)));
    if (released) return { status: 'ok' };
    const lease = await registry.store.readLease(request.params.id, registry.clock());
    return lease ? leased(request, reply, 409, lease) : notFound(request, reply);
  });
}

function describe(lease: LeaseRow) {
  return {
    owner: lease.owner,
    exclusive: lease.exclusive,
    acquired_at: new Date(lease.acquiredAtMs).toISOString(),
    expires_at: new Date(lease.expiresAtMs).toISOString(),
  };
}
