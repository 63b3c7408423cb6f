import type { PostgresStoreOptions } from '@microbosh/registry-server/postgres';
import type {
  AdminCredential,
  CertificateRule,
  FailedLoginLimit,
  HttpLimits,
} from '@microbosh/registry-server';

export interface TlsFiles {
  readonly certificate: string;
  readonly privateKey: string;
  readonly clientCa?: string;
}

export interface ListenerConfig {
  readonly address: string;
  readonly port: number;
  readonly tls?: TlsFiles;
}

/** `ssl` holds paths here; they are read when the store is opened. */
export interface PostgresConfig {
  readonly adapter: 'postgres';
  readonly connection: PostgresStoreOptions['connection'];
  readonly tls:
    | {
        readonly verify: boolean;
        readonly ca?: string;
        readonly certificate?: string;
        readonly privateKey?: string;
      }
    | undefined;
  readonly retryForMs: number;
}

export interface SqliteConfig {
  readonly adapter: 'sqlite';
  readonly file: string;
}

export interface OpenStackConfig {
  readonly plugin: 'openstack';
  readonly authUrl: string;
  readonly username: string;
  readonly password: string;
  readonly tenant?: string;
  readonly project?: string;
  readonly userDomain?: string;
  readonly projectDomain?: string;
  readonly region?: string;
  readonly endpointType: string;
  readonly caFile?: string;
  readonly verifyPeer: boolean;
}

export interface AwsConfig {
  readonly plugin: 'aws';
  readonly region: string;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly endpoint?: string;
  readonly maxRetries: number;
  readonly caFile?: string;
  readonly verifyPeer: boolean;
}

export type CloudConfig = (OpenStackConfig | AwsConfig) & {
  readonly cacheMs: number;
  readonly timeoutMs: number;
};

export type EncryptionConfig =
  | { readonly mode: 'off' }
  | { readonly mode: 'file'; readonly keyFile: string }
  | { readonly mode: 'command'; readonly command: readonly [string, ...string[]] };

/** The configuration with all defaults, in the words of the program. */
export interface RegistryConfig {
  readonly logFile?: string;
  readonly auditLogFile?: string;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'fatal';
  readonly listeners: readonly ListenerConfig[];
  readonly admins: readonly AdminCredential[];
  readonly certificateRules: readonly CertificateRule[];
  readonly trustedProxies: readonly string[];
  readonly loopbackReads: boolean;
  readonly failedLogins: FailedLoginLimit;
  readonly limits: HttpLimits;
  readonly db: SqliteConfig | PostgresConfig;
  readonly encryption: EncryptionConfig;
  readonly requireJson: boolean;
  readonly expireUntouchedAfterMs?: number;
  readonly drainMs: number;
  readonly cloud?: CloudConfig;
}
