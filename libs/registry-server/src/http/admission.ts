import type { FastifyReply, FastifyRequest } from 'fastify';
import { isDenial } from '../access/gatekeeper.ts';
import type { Access } from '../access/admin-credentials.ts';
import { callerOf, refuse } from './context.ts';
import type { RouteContext } from './context.ts';
import { fail, notFound } from './answers.ts';
import { isInstanceId } from './clean-path.ts';

/** A hook that lets administrators pass, before anything of the body is read. */
export function requireAdmin(context: RouteContext, need: Access) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const caller = callerOf(request, context.access);
    const instanceId = instanceIdOf(request);
    if (instanceId !== undefined && !isInstanceId(instanceId)) return refuseId(request, reply);
    const identity = await context.access.gatekeeper.admit(caller, need);
    if (isDenial(identity)) {
      return refuse(context, request, reply, identity, {
        caller,
        ...(instanceId === undefined ? {} : { instanceId }),
      });
    }
    request.identity = identity;
    return undefined;
  };
}

export function instanceIdOf(request: FastifyRequest): string | undefined {
  const { params } = request;
  if (typeof params !== 'object' || params === null || !('id' in params)) return undefined;
  return typeof params.id === 'string' ? params.id : undefined;
}

/** An empty id is no route of the original; one that cannot name an instance is refused before it reaches a store. */
export function refuseId(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (instanceIdOf(request) === '') return notFound(request, reply);
  return fail(request, reply, 400, {
    code: 'E_REGISTRY_BAD_ID',
    message: 'An instance id has 1 to 255 bytes and no control characters.',
  });
}
