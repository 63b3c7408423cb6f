import { CloudError } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';

/** What may go away by itself, and has changed nothing. */
const transient = [
  'TaskInProgress',
  'ConcurrentAccess',
  'ResourceInUse',
  'HostCommunication',
  'HostNotConnected',
  'RequestCanceled',
];

/** An answer of vCenter that is a fault: of a call, or of a task. */
export class VimFault extends CloudError {
  /** `InvalidLogin`, `FileNotFound`, `DuplicateName`, … */
  readonly fault: string;

  constructor(method: string, fault: string, message: string, advice?: string) {
    super(`vSphere ${method}: ${fault}: ${message}`, {
      okToRetry: transient.includes(fault),
      details: { method, fault },
      ...(advice === undefined ? {} : { advice }),
    });
    this.fault = fault;
  }
}

/** The request left, and no answer came: it may have been carried out. */
export class VimSilent extends CloudError {
  constructor(method: string, reason: string) {
    super(`vSphere ${method}: no answer: ${reason}`, { okToRetry: true, details: { method } });
  }
}

export function isFault(error: unknown, ...names: readonly string[]): error is VimFault {
  return error instanceof VimFault && names.includes(error.fault);
}

const advices: Readonly<Record<string, string>> = {
  InvalidLogin: "Check 'user' and 'password' of the vCenter.",
  NoPermission: 'The user needs a role with more privileges on this object.',
};

/** The fault of `soapenv:Fault`: its detail holds one element, which names the class as its type or by its own name. */
export function faultOfCall(method: string, fault: XmlNode): VimFault {
  const detail = fault.at('detail')?.children[0];
  const name = detail?.type ?? detail?.name.replace(/Fault$/, '') ?? 'SystemError';
  return new VimFault(method, name, fault.textAt('faultstring') ?? '', advices[name]);
}

/** The fault of a task: `info.error`. */
export function faultOfTask(method: string, error: XmlNode): VimFault {
  const name = error.at('fault')?.type ?? 'SystemError';
  return new VimFault(method, name, error.textAt('localizedMessage') ?? '', advices[name]);
}
