/** What control files say, after reading: the part of monit's language that describes services. */
export interface ControlService {
  readonly kind: 'process' | 'file' | 'filesystem' | 'directory' | 'host' | 'program' | 'system' | 'network';
  readonly name: string;
  /** pid file, path, address, or the words of a program's line. */
  readonly target: string;
  /** `matching "<regex>"` instead of a pid file. */
  readonly matching?: string;
  /** Of `check program`. */
  readonly program?: ControlProgram;
  readonly start?: ControlProgram;
  readonly stop?: ControlProgram;
  readonly restart?: ControlProgram;
  readonly groups: readonly string[];
  readonly dependsOn: readonly string[];
  /** `manual`: is not taken up again by itself after a boot; `passive`: is watched only. */
  readonly mode: 'active' | 'passive' | 'manual';
  readonly every: ControlSchedule;
  readonly rules: readonly ControlRule[];
  readonly line: number;
}

export interface ControlProgram {
  readonly argv: readonly [string, ...string[]];
  readonly timeoutMs: number;
  readonly uid?: string;
  readonly gid?: string;
}

/** When the rules of a service are looked at. */
export type ControlSchedule =
  | { readonly kind: 'cycles'; readonly cycles: number }
  | { readonly kind: 'cron'; readonly cron: string; readonly negated: boolean };

export type ControlAction = 'alert' | 'restart' | 'start' | 'stop' | 'exec' | 'monitor' | 'unmonitor';

export interface ControlReaction {
  readonly action: ControlAction;
  readonly exec?: ControlProgram;
}

export interface ControlRule extends ControlReaction {
  readonly test: ControlTest;
  /** `[times] times within [within] cycles`. */
  readonly times: number;
  readonly within: number;
  /** `else … then <action>`. */
  readonly recovery?: ControlReaction;
  readonly line: number;
}

export type Comparison = '>' | '<' | '>=' | '<=' | '==' | '!=';

export type ControlResource =
  | 'memory'
  | 'totalmemory'
  | 'cpu'
  | 'totalcpu'
  | 'cpu-user'
  | 'cpu-system'
  | 'cpu-wait'
  | 'swap'
  | 'children'
  | 'threads'
  | 'files'
  | 'space'
  | 'space-free'
  | 'inode'
  | 'inode-free'
  | 'size'
  | 'age'
  | 'uptime'
  | 'load1'
  | 'load5'
  | 'load15';

export interface ConnectionTest {
  readonly kind: 'connection';
  readonly to: SocketAddress;
  readonly transport: 'tcp' | 'tls' | 'udp';
  /** What is said after connecting; without both, connecting is the test. */
  readonly http?: HttpTest;
  readonly dialogue?: readonly DialogueStep[];
  readonly certificate?: CertificateTest;
  /** A protocol of monit's language that is not spoken here: connecting is the test. */
  readonly unspoken?: string;
  readonly timeoutMs: number;
  readonly tries: number;
}

export type SocketAddress =
  { readonly host: string; readonly port: number; readonly family?: 4 | 6 } | { readonly path: string };

export interface HttpTest {
  readonly method: 'GET' | 'HEAD';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Status that is wanted; without it anything below 400. */
  readonly status?: { readonly comparison: Comparison; readonly value: number };
  /** Regular expression on the body. */
  readonly content?: { readonly pattern: string; readonly negated: boolean };
  /** MD5 or SHA-1 of the body. */
  readonly checksum?: string;
}

/** Text of one character per byte. */
export type DialogueStep = { readonly send: string } | { readonly expect: string };

export interface CertificateTest {
  readonly verify: boolean;
  readonly allowSelfSigned: boolean;
  readonly caFile?: string;
  /** Days for which it is still valid. */
  readonly validDays?: { readonly comparison: Comparison; readonly value: number };
  /** MD5 or SHA-1 of the certificate. */
  readonly checksum?: string;
}

export type ChangeableFact =
  'checksum' | 'timestamp' | 'size' | 'pid' | 'ppid' | 'status' | 'permission' | 'uid' | 'gid' | 'fsflags';

export type ControlTest =
  | {
      readonly kind: 'resource';
      readonly resource: ControlResource;
      readonly comparison: Comparison;
      readonly value: number;
      /** Seconds are counted, too. */
      readonly unit: 'percent' | 'bytes' | 'count';
    }
  | ConnectionTest
  | {
      readonly kind: 'ping';
      readonly count: number;
      readonly timeoutMs: number;
      readonly bytes?: number;
      readonly family?: 4 | 6;
    }
  | { readonly kind: 'exists'; readonly negated: boolean }
  | { readonly kind: 'restarts'; readonly count: number; readonly within: number }
  | { readonly kind: 'status'; readonly comparison: Comparison; readonly value: number }
  | { readonly kind: 'changed'; readonly what: ChangeableFact }
  /** Without a wanted one: the first that was seen. */
  | { readonly kind: 'checksum'; readonly algorithm: 'md5' | 'sha1'; readonly wanted?: string }
  | { readonly kind: 'permission'; readonly mode: number }
  /** Of the path, or of the process. */
  | { readonly kind: 'owner'; readonly what: 'uid' | 'euid' | 'gid'; readonly wanted: string }
  | { readonly kind: 'content'; readonly pattern: string; readonly negated: boolean }
  | { readonly kind: 'unsupported'; readonly text: string };

/** Something in a control file that is no statement of the language. */
export interface ControlFlaw {
  readonly line: number;
  readonly message: string;
}

export class ControlFileInvalid extends Error {
  readonly line: number;
  constructor(message: string, line: number) {
    super(message);
    this.line = line;
  }
}

export function compare(value: number, comparison: Comparison, limit: number): boolean {
  switch (comparison) {
    case '>':
      return value > limit;
    case '<':
      return value < limit;
    case '>=':
      return value >= limit;
    case '<=':
      return value <= limit;
    case '==':
      return value === limit;
    case '!=':
      return value !== limit;
  }
}
