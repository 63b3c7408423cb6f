import { describe, expect, it } from 'vitest';
import { CpiAnswerInvalid } from './errors.ts';
import {
  configurationOf,
  decodeContext,
  decodeRequest,
  decodeResponse,
  encodeContext,
  encodeRequest,
  redactRequest,
} from './wire.ts';

const signal = new AbortController().signal;

describe('requests', () => {
  it('are read as they were written', () => {
    const request = { method: 'has_vm', arguments: ['vm-1'], context: { director_uuid: 'd' }, apiVersion: 2 };

    expect(decodeRequest(encodeRequest(request))).toEqual(request);
  });

  it('without api_version are of version 1', () => {
    expect(decodeRequest('{"method":"info","arguments":[],"context":{}}').apiVersion).toBe(1);
  });

  it.each([
    ['', 'is not JSON'],
    ['null', 'must be a JSON object'],
    ['[]', 'must be a JSON object'],
    ['{"arguments":[]}', "needs a 'method'"],
    ['{"method":"info","arguments":null}', 'must be a list'],
    ['{"method":"info","arguments":[],"context":[]}', 'must be an object'],
    ['{"method":"info","arguments":[],"api_version":"2"}', 'must be an integer'],
    ['{"method":"info","arguments":[],"api_version":null}', 'must be an integer'],
  ])('like %s are refused', (text, sentence) => {
    expect(() => decodeRequest(text)).toThrow(sentence);
  });

  it('carry the token only to CPIs that know it', () => {
    const context = { directorUuid: 'd', requestId: 'r', stemcellApiVersion: 3, token: 't-1' };

    expect(encodeContext(context, { withToken: false })).not.toHaveProperty('microbosh');
    expect(decodeContext(encodeContext(context, { withToken: true }), signal)).toEqual({
      ...context,
      signal,
    });
  });

  it('have a stemcell of version 1 when the caller names none, or zero', () => {
    expect(decodeContext({ vm: { stemcell: {} } }, signal).stemcellApiVersion).toBe(1);
    expect(decodeContext({ vm: { stemcell: { api_version: 0 } } }, signal).stemcellApiVersion).toBe(1);
  });

  it('carry configuration beside the known keys of the context', () => {
    expect(
      configurationOf({ director_uuid: 'd', request_id: 'r', vm: {}, microbosh: {}, region: 'x' }),
    ).toEqual({
      region: 'x',
    });
  });

  it('show no properties, env and configuration in a log', () => {
    const secret = 'hunter2-secret';
    const text = JSON.stringify(
      redactRequest({
        method: 'create_vm',
        arguments: [
          'agent',
          'stemcell',
          { key: secret },
          { n: { type: 'manual', ip: '10.0.0.5', cloud_properties: { key: secret } } },
          [],
          { bosh: { password: secret, tags: { a: 'b' } }, other: secret },
        ],
        context: { director_uuid: 'd', api_key: secret },
        apiVersion: 2,
      }),
    );

    expect(text).not.toContain(secret);
    expect(text).toContain('10.0.0.5');
    expect(text).toContain('"tags":{"a":"b"}');
  });
});

describe('responses', () => {
  it.each(['{}', '{"result":null}', '{"result":null,"error":null,"log":null}'])(
    'that leave out keys, like %s, are void results',
    (text) => {
      expect(decodeResponse(text)).toEqual({ result: null, error: null, log: '' });
    },
  );

  it.each(['', 'banner\n{"result":1}', '{"result":1}{"result":2}', '[]', '{"error":"text"}', '{"error":{}}'])(
    'like %j are refused',
    (text) => {
      expect(() => decodeResponse(text)).toThrow(CpiAnswerInvalid);
    },
  );
});
