import { vsphereUnderTest } from '@microbosh/cpi-vsphere/testing';
import type { JsonObject } from '@microbosh/errors';
import type { LabReport } from '../../support/lab-report.ts';
import { faultMatrix } from '../clouds/fault-matrix.ts';
import type { LabCase } from '../clouds/lab-cases.ts';
import type { Fault, FaultProxyTls } from '../fault-proxy/fault-proxy.ts';
import { networks, vmProperties } from './cases.ts';
import type { VsphereLab } from './cases.ts';

const soapFault = (name: string): Fault => ({
  kind: 'answer',
  status: 500,
  headers: { 'content-type': 'text/xml' },
  body: `<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>injected</faultstring><detail><${name}Fault xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="${name}"/></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`,
});

const status = (code: number): Fault => ({ kind: 'answer', status: code, body: 'injected' });

const faults: Readonly<Record<string, Fault>> = {
  '401': status(401),
  '404': status(404),
  '409': status(409),
  '429': status(429),
  '500': status(500),
  '503': status(503),
  NotAuthenticated: soapFault('NotAuthenticated'),
  NoPermission: soapFault('NoPermission'),
  TaskInProgress: soapFault('TaskInProgress'),
  SystemError: soapFault('SystemError'),
  'no answer': { kind: 'hang' },
  'cut before': { kind: 'cut-before' },
  'cut after success': { kind: 'cut-after' },
  'a task that fails': {
    kind: 'rewrite',
    change: (body) =>
      body.replace(
        />success<\/val>/,
        '>error</val></propSet><propSet><name>info.error</name><val XMLSchema-instance:type="LocalizedMethodFault" xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance"><fault XMLSchema-instance:type="HostConfigFault"/><localizedMessage>injected</localizedMessage></val>',
      ),
  },
};

export function vsphereFaults(
  lab: VsphereLab & {
    readonly before: ReadonlySet<string>;
    readonly tls: FaultProxyTls;
    readonly onlyFaults: readonly string[] | undefined;
    readonly report: LabReport;
  },
): readonly LabCase[] {
  const { view, image, before, tls, onlyFaults, report } = lab;
  const { host } = lab.vcenter;
  const options = lab.vcenter['connection_options'] as JsonObject;
  return faultMatrix({
    ...{ cloud: view, before, tls, faults, onlyFaults, vmProperties, networks, report },
    silent: ['set_disk_metadata'],
    ...{
      origin: `https://${typeof host === 'string' ? host : ''}`,
      imagePath: image,
      stemcellProperties: {},
    },
    open: (address, readTimeoutSeconds = 30) => {
      const connection_options = { ...options, read_timeout: readTimeoutSeconds };
      const { cpi } = vsphereUnderTest({ ...lab.vcenter, host: new URL(address).host, connection_options });
      return { cpi, close: () => cpi.dispose() };
    },
  });
}
