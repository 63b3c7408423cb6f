import { awsUnderTest } from '@microbosh/cpi-aws/testing';
import type { LabReport } from '../../support/lab-report.ts';
import { faultMatrix } from '../clouds/fault-matrix.ts';
import type { LabCase } from '../clouds/lab-cases.ts';
import type { Fault } from '../fault-proxy/fault-proxy.ts';
import type { AwsLab } from './cases.ts';
import { dynamicNetwork, vmProperties } from './cases.ts';

/** As EC2 says no. */
export const errorAnswer = (status: number, code: string): Fault => ({
  kind: 'answer',
  status,
  headers: { 'content-type': 'text/xml' },
  body: `<?xml version="1.0"?><Response><Errors><Error><Code>${code}</Code><Message>injected</Message></Error></Errors><RequestID>r</RequestID></Response>`,
});

/** EC2 says most with status 400 and a code: 409 and 429 are its Conflict and RequestLimitExceeded. */
const faults: Readonly<Record<string, Fault>> = {
  '401 AuthFailure': errorAnswer(401, 'AuthFailure'),
  '403 UnauthorizedOperation': errorAnswer(403, 'UnauthorizedOperation'),
  '404': { kind: 'answer', status: 404, body: 'nothing here' },
  '409 OperationNotPermitted': errorAnswer(409, 'OperationNotPermitted'),
  '429 RequestLimitExceeded': errorAnswer(429, 'RequestLimitExceeded'),
  '500 InternalError': errorAnswer(500, 'InternalError'),
  '500 InsufficientInstanceCapacity': errorAnswer(500, 'InsufficientInstanceCapacity'),
  '503 RequestLimitExceeded': errorAnswer(503, 'RequestLimitExceeded'),
  '400 IncorrectState': errorAnswer(400, 'IncorrectState'),
  'no answer': { kind: 'hang' },
  'cut before': { kind: 'cut-before' },
  'cut after success': { kind: 'cut-after' },
};

export function awsFaults(
  lab: AwsLab & {
    readonly before: ReadonlySet<string>;
    readonly onlyFaults: readonly string[] | undefined;
    readonly report: LabReport;
  },
): readonly LabCase[] {
  const { place, image, view, before, onlyFaults, endpoint, report } = lab;
  return faultMatrix({
    ...{ cloud: view, before, origin: endpoint, faults, onlyFaults, report },
    open: (address, readTimeoutSeconds = 30) => ({
      cpi: awsUnderTest(address, { connection_options: { read_timeout: readTimeoutSeconds } }, 0.2),
      close: async () => undefined,
    }),
    ...{ imagePath: image.path, stemcellProperties: { disk: 1024 }, vmProperties: vmProperties(place) },
    networks: { ...dynamicNetwork(place), public: { type: 'vip', ip: place.elasticIp } },
  });
}
