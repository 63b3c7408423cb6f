import type { FastifyInstance } from 'fastify';
import type { InstanceSummary } from '../../ports/store.ts';
import { requireAdmin } from '../admission.ts';
import { fail } from '../answers.ts';
import type { RouteContext } from '../context.ts';
import { ExpireBody, parseBody } from '../schemas.ts';

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;

/** The listing, without any value of the settings, and the removal of rows that nobody touches any more. */
export function addInstanceRoutes(app: FastifyInstance, context: RouteContext): void {
  const { registry, audit } = context;

  app.get<{ Querystring: { after?: string; limit?: string; untouched_seconds?: string } }>(
    '/instances',
    { onRequest: requireAdmin(context, 'read-only') },
    async (request, reply) => {
      const limit = wholeNumber(request.query.limit, DEFAULT_PAGE);
      const untouchedSeconds = wholeNumber(request.query.untouched_seconds, 0);
      if (limit === undefined || limit < 1 || limit > MAX_PAGE || untouchedSeconds === undefined) {
        return fail(request, reply, 400, {
          code: 'E_REGISTRY_BAD_REQUEST',
          message: `limit is 1 to ${MAX_PAGE}, untouched_seconds a whole number.`,
        });
      }
      const nowMs = registry.clock();
      await registry.flushActivity();
      const instances = await registry.store.list({
        limit,
        nowMs,
        ...(request.query.after === undefined ? {} : { after: String(request.query.after) }),
        ...(untouchedSeconds === 0 ? {} : { untouchedSinceMs: nowMs - untouchedSeconds * 1000 }),
      });
      const last = instances.at(-1);
      return {
        status: 'ok',
        instances: instances.map(describe),
        ...(instances.length === limit && last ? { next: last.instanceId } : {}),
      };
    },
  );

  app.post(
    '/instances/expire',
    { onRequest: requireAdmin(context, 'read-write') },
    async (request, reply) => {
      const parsed = parseBody(ExpireBody, request.body);
      if ('problem' in parsed) {
        return fail(request, reply, 400, { code: 'E_REGISTRY_BAD_REQUEST', message: parsed.problem });
      }
      const dryRun = parsed.value.dry_run ?? false;
      const expired = await registry.expireUntouched(parsed.value.older_than_seconds * 1000, { dryRun });
      audit.info(
        { event: 'expired', requestId: request.id, dryRun, instanceIds: expired, by: request.identity?.name },
        'stale instances expired',
      );
      return { status: 'ok', dry_run: dryRun, instances: expired };
    },
  );
}

function wholeNumber(text: string | undefined, otherwise: number): number | undefined {
  if (text === undefined) return otherwise;
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

function describe(row: InstanceSummary) {
  return {
    id: row.instanceId,
    etag: row.etag,
    key_id: row.keyId,
    size_bytes: row.sizeBytes,
    created_at: new Date(row.createdAtMs).toISOString(),
    last_write_at: new Date(row.updatedAtMs).toISOString(),
    last_write_by: row.updatedBy,
    ...(row.lastReadAtMs === undefined ? {} : { last_read_at: new Date(row.lastReadAtMs).toISOString() }),
    reads: row.reads,
    denied_reads: row.deniedReads,
    active_tokens: row.activeTokens,
    ...(row.lease
      ? {
          lease: {
            owner: row.lease.owner,
            exclusive: row.lease.exclusive,
            expires_at: new Date(row.lease.expiresAtMs).toISOString(),
          },
        }
      : {}),
  };
}
