import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { signV4 } from './s3-provider.ts';

it('signs the example of the documentation of AWS', () => {
  const { authorization } = signV4({
    method: 'GET',
    url: new URL('https://examplebucket.s3.amazonaws.com/?lifecycle'),
    payloadHash: createHash('sha256').update('').digest('hex'),
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
    secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    region: 'us-east-1',
    at: new Date('2013-05-24T00:00:00Z'),
  });

  expect(authorization).toBe(
    'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  );
});
