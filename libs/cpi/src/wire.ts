import { isJsonObject, messageOf, type Json, type JsonObject } from '@microbosh/errors';
import type { CallContext } from './contract.ts';
import { CpiAnswerInvalid, GenericCpiError, type WireError } from './errors.ts';

/**
 * One call as it travels on a CPI's standard input:
 * `{"method":"has_vm","arguments":["vm-1"],"context":{"director_uuid":"d"},"api_version":2}`
 */
export interface CpiRequest {
  readonly method: string;
  readonly arguments: readonly Json[];
  readonly context: JsonObject;
  /** 1 when the request has none. */
  readonly apiVersion: number;
}

/** What a CPI prints: exactly one document. */
export interface CpiResponse {
  readonly result: Json;
  readonly error: WireError | null;
  readonly log: string;
}

/** Keys of a request's context that are not configuration. */
const contextKeys = ['director_uuid', 'request_id', 'vm', 'microbosh'];

export function encodeRequest(request: CpiRequest): string {
  const { method, context, apiVersion } = request;
  return JSON.stringify({ method, arguments: request.arguments, context, api_version: apiVersion });
}

/** Throws GenericCpiError with the sentence that goes into the answer. */
export function decodeRequest(text: string): CpiRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new GenericCpiError(`The request is not JSON: ${messageOf(error)}`, { cause: error });
  }
  if (!isJsonObject(value)) throw new GenericCpiError('The request must be a JSON object');
  const { method, arguments: args, context, api_version: apiVersion } = value;
  if (typeof method !== 'string') throw new GenericCpiError("The request needs a 'method'");
  if (!Array.isArray(args)) throw new GenericCpiError("'arguments' of the request must be a list");
  if (context !== undefined && !isJsonObject(context))
    throw new GenericCpiError("'context' of the request must be an object");
  if (apiVersion !== undefined && !(typeof apiVersion === 'number' && Number.isInteger(apiVersion)))
    throw new GenericCpiError("'api_version' of the request must be an integer");
  return { method, arguments: args as readonly Json[], context: context ?? {}, apiVersion: apiVersion ?? 1 };
}

/** The wire form of a call's context; the token goes to our own CPIs only, others take it for configuration. */
export function encodeContext(context: CallContext, options: { readonly withToken: boolean }): JsonObject {
  return {
    director_uuid: context.directorUuid,
    request_id: context.requestId,
    vm: { stemcell: { api_version: context.stemcellApiVersion } },
    ...(options.withToken && context.token !== undefined && { microbosh: { token: context.token } }),
  };
}

export function decodeContext(context: JsonObject, signal: AbortSignal): CallContext {
  const token = objectAt(context, 'microbosh')['token'];
  const stemcellVersion = objectAt(objectAt(context, 'vm'), 'stemcell')['api_version'];
  return {
    directorUuid: stringOr(context['director_uuid'], ''),
    requestId: stringOr(context['request_id'], ''),
    stemcellApiVersion: typeof stemcellVersion === 'number' && stemcellVersion > 0 ? stemcellVersion : 1,
    ...(typeof token === 'string' && token !== '' && { token }),
    signal,
  };
}

/** The Director's CPI configuration for this call: what its context holds beside the known keys. */
export function configurationOf(context: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(context).filter(([key]) => !contextKeys.includes(key)));
}

export function encodeResponse(response: CpiResponse): string {
  return JSON.stringify({ result: response.result, error: response.error, log: response.log });
}

/** Tolerates what CPIs in the field leave out; throws CpiAnswerInvalid for everything else. */
export function decodeResponse(stdout: string): CpiResponse {
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch (error) {
    throw new CpiAnswerInvalid(`The CPI's standard output is not one JSON document: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (!isJsonObject(value)) throw new CpiAnswerInvalid("The CPI's answer is not an object");
  const { result, error, log } = value;
  return { result: result ?? null, error: decodeError(error ?? null), log: stringOr(log, '') };
}

function decodeError(error: Json): WireError | null {
  if (error === null) return null;
  if (!isJsonObject(error) || typeof error['type'] !== 'string')
    throw new CpiAnswerInvalid("The field 'error' of the CPI's answer has no type");
  return {
    type: error['type'],
    message: stringOr(error['message'], ''),
    ok_to_retry: error['ok_to_retry'] === true,
  };
}

const redacted = '<redacted>';

/**
 * The request as it may stand in a log: cloud properties, env (but its groups and tags) and configuration in the
 * context are replaced, as the Director does; metadata and identifiers stay.
 */
export function redactRequest(request: CpiRequest): JsonObject {
  const known = Object.entries(request.context).filter(([key]) => contextKeys.includes(key));
  const hidden = Object.keys(configurationOf(request.context)).map((key) => [key, redacted] as const);
  return {
    method: request.method,
    arguments: request.arguments.map((argument, index) => redactArgument(request.method, index, argument)),
    context: Object.fromEntries([...known, ...hidden]),
    api_version: request.apiVersion,
  };
}

function redactArgument(method: string, index: number, argument: Json): Json {
  const position = `${method}.${index}`;
  if (position === 'create_vm.3' && isJsonObject(argument)) {
    return Object.fromEntries(
      Object.entries(argument).map(([name, network]) => [
        name,
        isJsonObject(network) && 'cloud_properties' in network
          ? { ...network, cloud_properties: redacted }
          : network,
      ]),
    );
  }
  if (position === 'create_vm.5' && isJsonObject(argument)) {
    const bosh = objectAt(argument, 'bosh');
    const open = Object.entries(bosh).filter(([key]) => ['group', 'groups', 'tags'].includes(key));
    return { bosh: Object.fromEntries(open), rest: redacted };
  }
  const hidden = ['create_stemcell.1', 'create_vm.2', 'create_disk.1', 'update_disk.2'];
  return hidden.includes(position) ? redacted : argument;
}

function objectAt(object: JsonObject, key: string): JsonObject {
  const value = object[key];
  return isJsonObject(value) ? value : {};
}

function stringOr(value: Json | undefined, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}
