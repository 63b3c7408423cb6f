import { vcloudUnderTest } from '@microbosh/cpi-vcloud/testing';
import type { JsonObject } from '@microbosh/errors';
import type { LabReport } from '../../support/lab-report.ts';
import { faultMatrix } from '../clouds/fault-matrix.ts';
import type { LabCase } from '../clouds/lab-cases.ts';
import type { Fault, FaultProxyTls } from '../fault-proxy/fault-proxy.ts';
import { networks, vmProperties } from './cases.ts';
import type { VcloudLab } from './cases.ts';

const answer = (status: number, reason: string): Fault => ({
  kind: 'answer',
  status,
  headers: { 'content-type': 'application/vnd.vmware.vcloud.error+xml' },
  body: `<?xml version="1.0"?><Error xmlns="http://www.vmware.com/vcloud/v1.5" majorErrorCode="${status}" minorErrorCode="${reason}" message="injected"/>`,
});

const faults: Readonly<Record<string, Fault>> = {
  '401': answer(401, 'UNAUTHORIZED'),
  '404': { kind: 'answer', status: 404, body: 'nothing here' },
  '409': answer(409, 'CONFLICT'),
  '429': answer(429, 'TOO_MANY_REQUESTS'),
  '500': answer(500, 'INTERNAL_SERVER_ERROR'),
  '503': { kind: 'answer', status: 503, body: 'no healthy upstream' },
  BUSY_ENTITY: answer(400, 'BUSY_ENTITY'),
  'no answer': { kind: 'hang' },
  'cut before': { kind: 'cut-before' },
  'cut after success': { kind: 'cut-after' },
  'a task that fails': {
    kind: 'rewrite',
    change: (body) => body.replaceAll(/(<Task [^>]*\bstatus=")(queued|running|success)"/g, '$1error"'),
  },
};

export function vcloudFaults(
  lab: VcloudLab & {
    readonly before: ReadonlySet<string>;
    readonly tls: FaultProxyTls;
    readonly onlyFaults: readonly string[] | undefined;
    readonly report: LabReport;
  },
): readonly LabCase[] {
  const { stub, view, image } = lab;
  const options = lab.vcd['connection_options'] as JsonObject;
  const entities = lab.vcd['entities'] as JsonObject;
  return faultMatrix({
    ...{
      cloud: view,
      before: lab.before,
      origin: stub.origin,
      tls: lab.tls,
      faults,
      onlyFaults: lab.onlyFaults,
      report: lab.report,
    },
    open: (url, readTimeoutSeconds = 30) => {
      const connection_options = { ...options, read_timeout: readTimeoutSeconds };
      // Waits of seconds for an entity that says for good that it is busy would make days of the matrix.
      const wait_max = url === stub.origin ? 30 : 1;
      const control = { wait_max, wait_delay: 0.02, retry_delay: 0.002 };
      const { cpi } = vcloudUnderTest({
        ...{ ...lab.vcd, url, connection_options },
        entities: { ...entities, control },
      });
      return { cpi, close: () => cpi.dispose() };
    },
    ...{ imagePath: image, stemcellProperties: {}, vmProperties, networks },
    isOf: (thing, vmCid) => thing.includes(vmCid.slice(vmCid.lastIndexOf(':') + 1)),
    afterwards: () => stub.judge.check(),
  });
}
