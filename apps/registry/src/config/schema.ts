import Type from 'typebox';
import type { Static } from 'typebox';

const text = (description: string) =>
  Type.Optional(Type.Union([Type.String(), Type.Number()], { description }));
const flag = (description: string, otherwise: boolean) =>
  Type.Optional(Type.Boolean({ description, default: otherwise }));
const count = (description: string, otherwise: number) =>
  Type.Optional(Type.Integer({ minimum: 0, description, default: otherwise }));
const seconds = (description: string, otherwise: number) =>
  Type.Optional(Type.Number({ minimum: 0, description: `${description} Seconds.`, default: otherwise }));
const port = (description: string) =>
  Type.Optional(Type.Integer({ minimum: 0, maximum: 65_535, description }));

const AccessLevel = Type.Optional(
  Type.Union([Type.Literal('read-write'), Type.Literal('read-only')], {
    description: 'What this administrator may do.',
    default: 'read-write',
  }),
);

const DbTls = Type.Object({
  enabled: flag('Use TLS and verify the server.', false),
  cert: Type.Optional(
    Type.Object({
      ca: text('File with the CA, PEM.'),
      certificate: text('File with the client certificate, PEM.'),
      private_key: text('File with its key, PEM.'),
    }),
  ),
  bosh_internal: Type.Optional(
    Type.Object({
      ca_provided: flag('Verify with `cert.ca` instead of the system CAs.', false),
      mutual_tls_enabled: flag('Show `cert.certificate` to the server.', false),
    }),
  ),
});

/** The configuration file. Keys of the original keep their names and meanings; the others are ours. */
export const ConfigDocument = Type.Object({
  logfile: text('File of the log. Default: standard output. Opened again on SIGHUP.'),
  loglevel: Type.Optional(
    Type.String({ description: 'debug, info, warn, error or fatal; any case.', default: 'info' }),
  ),
  audit_logfile: text('File of the audit log: who was refused what, without values. Default: the log.'),
  http: Type.Object({
    address: Type.Optional(
      Type.String({ description: 'Address to listen on; `::` for IPv6 too.', default: '0.0.0.0' }),
    ),
    port: port('Port of the listener: HTTPS when `http.tls` is given, otherwise plain HTTP. Default 25777.'),
    user: text('First administrator.'),
    password: text('Password of the first administrator, in clear.'),
    password_hash: text('Instead of `password`: what `microbosh-registry hash-password` prints.'),
    access: AccessLevel,
    additional_users: Type.Optional(
      Type.Array(
        Type.Object({
          username: text('Name. The same name twice is a rotation: both passwords are good.'),
          password: text('Password in clear.'),
          password_hash: text('Instead of `password`.'),
          access: AccessLevel,
        }),
        { description: 'More administrators.' },
      ),
    ),
    tls: Type.Optional(
      Type.Object({
        certificate: text('File with the certificate chain, PEM. Required.'),
        private_key: text('File with its key, PEM. Required.'),
        client_ca: text(
          'File with the CA of client certificates, PEM. Clients are asked for one when it is given.',
        ),
        client_identities: Type.Optional(
          Type.Array(
            Type.Object({
              common_name: Type.String({
                description:
                  'Common name of the certificate; `*` with access own-instance: the id of the instance itself.',
              }),
              access: Type.Union(
                [Type.Literal('read-write'), Type.Literal('read-only'), Type.Literal('own-instance')],
                {
                  description:
                    '`own-instance`: read the settings of the instance that the common name names.',
                },
              ),
            }),
            { description: 'What the owners of client certificates may do.' },
          ),
        ),
      }),
    ),
    plain: Type.Optional(
      Type.Object(
        {
          address: Type.Optional(
            Type.String({ description: 'Address of the plain listener.', default: '127.0.0.1' }),
          ),
          port: port('Its port.'),
        },
        { description: 'A plain HTTP listener beside the one with TLS, for old clients.' },
      ),
    ),
    trusted_proxies: Type.Optional(
      Type.Array(Type.String(), {
        description: 'Addresses and networks whose X-Forwarded-For is believed. Default: none.',
      }),
    ),
    loopback_reads: flag('Let this machine read settings without credentials, as the original did.', false),
    failed_logins: Type.Optional(
      Type.Object({
        attempts: count('Failures of one address within the window before it has to wait.', 10),
        window: seconds('Length of the window.', 60),
      }),
    ),
    limits: Type.Optional(
      Type.Object({
        body_bytes: count('Largest body, settings included.', 1_048_576),
        header_bytes: count('All headers of a request together.', 16_384),
        handshake_timeout: seconds('For a TLS handshake.', 60),
        headers_timeout: seconds('For the headers of a request.', 30),
        request_timeout: seconds('For a whole request.', 60),
        idle_timeout: seconds('Between the requests of a connection.', 30),
        connections: count('Connections at a time, for each listener.', 10_000),
      }),
    ),
  }),
  db: Type.Object({
    adapter: Type.Optional(
      Type.String({
        description: '`sqlite` or `postgres`. mysql2 has to be moved, see `import`.',
        default: 'sqlite',
      }),
    ),
    database: text('File of SQLite, or name of the PostgreSQL database.'),
    host: text('PostgreSQL: host, or directory of its unix socket.'),
    port: text('PostgreSQL: port.'),
    user: text('PostgreSQL: user.'),
    password: text('PostgreSQL: password.'),
    connection_options: Type.Optional(
      Type.Object(
        {
          max_connections: count('PostgreSQL: connections of this process.', 32),
          pool_timeout: seconds('PostgreSQL: how long a request waits for a connection.', 10),
          sslmode: Type.Optional(
            Type.String({
              description: 'PostgreSQL: overrides what `db.tls` asks for: disable, require, verify-full.',
            }),
          ),
        },
        { description: 'Options of the original; the ones not listed have no meaning here.' },
      ),
    ),
    retry_timeout: seconds('How long a request waits for a database that is away.', 10),
    tls: Type.Optional(DbTls),
  }),
  encryption: Type.Optional(
    Type.Object({
      enabled: flag('Encrypt settings at rest.', true),
      key_file: text(
        'File of the keys, mode 0600. Default: `<database>.key` beside SQLite, made when absent. Required for PostgreSQL unless there is a command.',
      ),
      key_command: Type.Optional(
        Type.Array(Type.String(), {
          description:
            'Program and arguments that print a key file on standard output; instead of `key_file`.',
          minItems: 1,
        }),
      ),
    }),
  ),
  settings: Type.Optional(
    Type.Object({
      require_json: flag('Refuse settings that are not a JSON object.', true),
      expire_untouched_after: seconds(
        'Remove rows that were neither written nor read for so long; 0: never.',
        0,
      ),
    }),
  ),
  drain_timeout: seconds('For running requests when the registry stops.', 10),
  cloud: Type.Optional(
    Type.Union([
      Type.Null(),
      Type.Object(
        {
          plugin: Type.Optional(
            Type.Union([Type.String(), Type.Null()], { description: '`openstack` or `aws`.' }),
          ),
          cache_seconds: seconds('How long the addresses of an instance are believed.', 30),
          timeout: seconds('For one question to the IaaS.', 5),
          openstack: Type.Optional(
            Type.Object({
              auth_url: text('Keystone, v2 or v3.'),
              username: text('User.'),
              api_key: text('Password.'),
              tenant: text('Tenant (v2).'),
              project: text('Project (v3).'),
              domain: text('Domain of user and project (v3).'),
              user_domain_name: text('Domain of the user (v3).'),
              project_domain_name: text('Domain of the project (v3).'),
              region: text('Region.'),
              endpoint_type: text('publicURL, internalURL or adminURL.'),
              connection_options: Type.Optional(
                Type.Object({
                  ssl_ca_file: text('File with the CA of the API, PEM.'),
                  ssl_verify_peer: flag('Verify the API.', true),
                }),
              ),
            }),
          ),
          aws: Type.Optional(
            Type.Object({
              region: text('Region.'),
              credentials_source: Type.Optional(
                Type.String({ description: '`static` or `env_or_profile`.', default: 'static' }),
              ),
              access_key_id: text('With `static`.'),
              secret_access_key: text('With `static`.'),
              ec2_endpoint: text('Endpoint of EC2; https:// is put before a bare host.'),
              max_retries: count('Tries again after a failure.', 2),
              ssl_ca_file: text('File with the CA of the API, PEM.'),
              ssl_verify_peer: flag('Verify the API.', true),
            }),
          ),
        },
        { description: 'Asks the IaaS which addresses an instance has, for agents without credentials.' },
      ),
    ]),
  ),
});

export type ConfigDocument = Static<typeof ConfigDocument>;
