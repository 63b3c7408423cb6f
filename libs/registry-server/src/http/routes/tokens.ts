import type { FastifyInstance } from 'fastify';
import { hashReadToken, mintReadToken, readTokenId } from '../../access/read-tokens.ts';
import type { TokenRow } from '../../ports/store.ts';
import { requireAdmin } from '../admission.ts';
import { fail, notFound } from '../answers.ts';
import type { InstanceParams, RouteContext } from '../context.ts';
import { MintTokenBody, parseBody } from '../schemas.ts';

/** Read tokens: minted by CPIs for one instance, listed and withdrawn by operators. */
export function addTokenRoutes(app: FastifyInstance, context: RouteContext): void {
  const { registry, audit } = context;

  app.post<InstanceParams>(
    '/instances/:id/tokens',
    { onRequest: requireAdmin(context, 'read-write') },
    async (request, reply) => {
      const parsed = parseBody(MintTokenBody, request.body);
      if ('problem' in parsed) {
        return fail(request, reply, 400, { code: 'E_REGISTRY_BAD_REQUEST', message: parsed.problem });
      }
      const { ttl_seconds: ttlSeconds, max_reads: maxReads, token_sha256: givenHash } = parsed.value;
      const token = givenHash === undefined ? mintReadToken() : undefined;
      const tokenHash = givenHash ?? hashReadToken(token ?? '');
      const nowMs = registry.clock();
      const row: TokenRow = {
        tokenHash,
        tokenId: readTokenId(tokenHash),
        instanceId: request.params.id,
        createdAtMs: nowMs,
        ...(ttlSeconds === undefined ? {} : { expiresAtMs: nowMs + ttlSeconds * 1000 }),
        ...(maxReads === undefined ? {} : { maxReads }),
        confirmedReads: 0,
      };
      if (!(await registry.store.addToken(row))) {
        return fail(request, reply, 409, {
          code: 'E_REGISTRY_TOKEN_TAKEN',
          message: 'This token belongs to another instance.',
        });
      }
      audit.info(
        {
          event: 'token-minted',
          requestId: request.id,
          instanceId: row.instanceId,
          tokenId: row.tokenId,
          by: request.identity?.name,
        },
        'read token minted',
      );
      return { status: 'ok', ...(token === undefined ? {} : { token }), ...describe(row) };
    },
  );

  app.get<InstanceParams>(
    '/instances/:id/tokens',
    { onRequest: requireAdmin(context, 'read-only') },
    async (request) => ({
      status: 'ok',
      tokens: (await registry.store.listTokens(request.params.id)).map(describe),
    }),
  );

  app.delete<{ Params: { id: string; tokenId: string } }>(
    '/instances/:id/tokens/:tokenId',
    { onRequest: requireAdmin(context, 'read-write') },
    async (request, reply) => {
      const removed = await registry.store.removeToken(request.params.id, request.params.tokenId);
      return removed ? { status: 'ok' } : notFound(request, reply);
    },
  );
}

function describe(row: TokenRow) {
  return {
    token_id: row.tokenId,
    created_at: new Date(row.createdAtMs).toISOString(),
    ...(row.expiresAtMs === undefined ? {} : { expires_at: new Date(row.expiresAtMs).toISOString() }),
    ...(row.maxReads === undefined ? {} : { max_reads: row.maxReads }),
    confirmed_reads: row.confirmedReads,
  };
}
