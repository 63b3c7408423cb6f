import type { FastifyInstance } from 'fastify';
import { isOperationalError, messageOf } from '@microbosh/errors';
import { requireAdmin } from '../admission.ts';
import { fail } from '../answers.ts';
import type { RouteContext } from '../context.ts';

/** For the supervisor, the balancer, and Prometheus. */
export function addOperationRoutes(app: FastifyInstance, context: RouteContext): void {
  const { registry, metrics } = context;

  app.get('/healthz', async () => ({ status: 'ok' }));

  app.get('/readyz', async (request, reply) => {
    if (context.isDraining()) {
      return fail(request, reply, 503, { code: 'E_REGISTRY_DRAINING', message: 'The registry is stopping.' });
    }
    try {
      await registry.store.ping();
    } catch (error) {
      return fail(request, reply, 503, {
        code: isOperationalError(error) ? error.code : 'E_REGISTRY_INTERNAL',
        message: isOperationalError(error) ? messageOf(error) : 'The store does not answer.',
      });
    }
    return { status: 'ok' };
  });

  app.get('/metrics', { onRequest: requireAdmin(context, 'read-only') }, async (_request, reply) => {
    const { contentType, text } = await metrics.render();
    return reply.header('content-type', contentType).send(text);
  });
}
