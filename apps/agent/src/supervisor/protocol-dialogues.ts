import type { ConnectionTest, DialogueStep } from './control-language.ts';

/**
 * What a client says first in the protocols of monit's language, and what a healthy server answers: one character per
 * byte.
 */
const dialogues: Readonly<Record<string, readonly DialogueStep[]>> = {
  ssh: [{ expect: '^SSH-[0-9.]+-' }],
  smtp: mail('EHLO'),
  lmtp: mail('LHLO'),
  ftp: [{ expect: '(^|\\n)220 ' }, { send: 'QUIT\r\n' }, { expect: '(^|\\n)221' }],
  pop: [{ expect: '^\\+OK' }, { send: 'QUIT\r\n' }, { expect: '^\\+OK' }],
  imap: [{ expect: '^\\* OK' }, { send: '001 LOGOUT\r\n' }, { expect: '^\\* BYE' }],
  nntp: [{ expect: '^20[01]' }, { send: 'QUIT\r\n' }, { expect: '^205' }],
  sieve: [{ expect: '"IMPLEMENTATION"' }],
  rsync: [{ expect: '^@RSYNCD:' }],
  redis: [{ send: '*1\r\n$4\r\nPING\r\n' }, { expect: '^(\\+PONG|-NOAUTH)' }],
  memcache: [{ send: 'version\r\n' }, { expect: '^VERSION ' }],
  clamav: [{ send: 'PING\r\n' }, { expect: '^PONG' }],
  spamassassin: [{ send: 'PING SPAMC/1.2\r\n\r\n' }, { expect: '^SPAMD/\\S+ 0 PONG' }],
  // A greeting of protocol 10 behind the four bytes of a packet's head.
  mysql: [{ expect: '^[^]{4}\\x0a' }],
  // A start-up message of protocol 3; a demand for a password is as good an answer as a refusal.
  pgsql: [{ send: lengthFirst('\0\x03\0\0user\0root\0database\0root\0\0', 4) }, { expect: '^[RE]' }],
  // CONNECT of 3.1.1 with a clean session; CONNACK with code 0.
  mqtt: [
    { send: '\x10\x0f\0\x04MQTT\x04\x02\0\x0a\0\x03mon' },
    { expect: '^\\x20\\x02[^]\\x00' },
    { send: '\xe0\0' },
  ],
  ldap2: ldap('\x02'),
  ldap3: ldap('\x03'),
  // The name servers of the root.
  dns: [{ send: '\0\x01\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01' }, { expect: '^\\x00\\x01[\\x80-\\xff]' }],
  // A client asks with mode 3, a server answers with mode 4.
  ntp3: [
    { send: `\x1b${'\0'.repeat(47)}` },
    { expect: '^[\\x04\\x0c\\x14\\x1c\\x24\\x2c\\x34\\x3c][^]{47}' },
  ],
};

/** Spoken over UDP unless the rule names a type. */
export const datagramProtocols: ReadonlySet<string> = new Set(['dns', 'ntp3']);

/** Protocols of monit's language that are checked by connecting. */
export const unspokenProtocols: ReadonlySet<string> = new Set([
  ...['apache-status', 'dwp', 'fail2ban', 'gps', 'mongodb', 'postfix-policy', 'radius', 'rdate', 'sip'],
  ...['tns', 'websocket'],
]);

export function dialogueOf(
  protocol: string,
  transport: ConnectionTest['transport'],
): readonly DialogueStep[] | undefined {
  const steps = Object.hasOwn(dialogues, protocol) ? dialogues[protocol] : undefined;
  if (protocol !== 'dns' || transport === 'udp') return steps;
  // Over a stream each message has its length before it.
  return steps?.map((step) =>
    'send' in step ? { send: lengthFirst(step.send, 2, 0) } : { expect: step.expect.replace('^', '^[^]{2}') },
  );
}

function mail(hello: string): readonly DialogueStep[] {
  return [
    { expect: '(^|\\n)220 ' },
    { send: `${hello} localhost\r\n` },
    { expect: '(^|\\n)250 ' },
    { send: 'QUIT\r\n' },
    { expect: '(^|\\n)221' },
  ];
}

/** An anonymous bind and its answer. */
function ldap(version: string): readonly DialogueStep[] {
  return [
    { send: `0\x0c\x02\x01\x01\`\x07\x02\x01${version}\x04\0\x80\0` },
    { expect: '^0[^]{1,5}\\x02\\x01\\x01a' },
    { send: '0\x05\x02\x01\x02B\0' },
  ];
}

/** Its length before a message; for `own` bytes of itself the length counts, too. */
function lengthFirst(message: string, bytes: 2 | 4, own: number = bytes): string {
  const head = Buffer.alloc(bytes);
  head.writeUIntBE(message.length + own, 0, bytes);
  return head.toString('latin1') + message;
}
