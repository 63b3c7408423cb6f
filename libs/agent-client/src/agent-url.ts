import { OperationalError } from '@microbosh/errors';

export class MbusInvalid extends OperationalError {
  readonly code = 'E_MBUS';
}

/** The parts of `https://user:password@host:port`. */
export interface AgentAddress {
  /** Without user info, path and trailing slash. */
  readonly origin: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** Reads an mbus URL; user and password are percent-decoded, as the Go agent and its client do. */
export function parseMbus(mbus: string): AgentAddress {
  const url = URL.canParse(mbus) ? new URL(mbus) : undefined;
  if (url?.protocol !== 'https:' || url.hostname === '') {
    throw new MbusInvalid('The message bus of the agent is not an https URL with a host.', {
      advice: 'It has the form https://user:password@host:6868.',
    });
  }
  return {
    origin: `https://${url.host}`,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 443 : Number(url.port),
    user: decode(url.username),
    password: decode(url.password),
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
