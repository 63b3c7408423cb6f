import { methodDefinition, methods, type MethodName } from './methods.ts';

/** The reference page of the protocol, made from the same table as validation and types. */
export function protocolReference(): string {
  const names = Object.keys(methods) as MethodName[];
  return `${[
    '# Agent protocol',
    '',
    'Generated from `libs/agent-protocol/src/methods.ts`; a test compares the two. To renew it:',
    '`node libs/agent-protocol/src/print-reference.ts > docs/reference/agent-protocol.md`.',
    '',
    'A request is `{"method", "arguments": [], "reply_to", "protocol", "request_id"}`, sent as `POST /agent` over',
    'HTTPS or to the subject `agent.<id>`. An answer has exactly one of `value` and `exception: {message}`; ours adds',
    '`code`, `retryable` and `advice` to an exception. A task answers `{"agent_task_id", "state": "running"}` first and',
    'is followed with `get_task`. A request repeated with the same `request_id` and body is not executed again.',
    '',
    'Over NATS an answer of more than 1 MiB is kept as a blob and answered with an exception that has its `blobstore_id`.',
    'The server has to show a certificate for `*.nats.bosh-internal`. Over HTTPS, `env.bosh.mbus.client_ca` (ours) lets in',
    'only clients with a certificate of that authority.',
    '',
    '`npm run conformance -- --mbus https://user:password@host:port` asks any agent all of this, one case per method,',
    'argument form and error; what changes the machine only with a flag.',
    '',
    ...names.flatMap(section),
  ].join('\n')}`;
}

function section(name: MethodName): string[] {
  const definition = methodDefinition(name);
  const traits = [
    definition.kind === 'task' ? 'task' : 'answered at once',
    ...(definition.taskFromProtocol === undefined
      ? []
      : [`task from protocol ${definition.taskFromProtocol} on`]),
    ...(definition.persistent ? ['survives a restart of the agent'] : []),
    ...(definition.cancellable ? ['can be cancelled'] : []),
    ...(definition.loggable ? [] : ['arguments are never logged']),
    definition.idempotent ? 'may be repeated' : 'is not repeated by clients',
  ];
  const parameters = definition.parameters.map(
    ({ name: parameter, optional, schema }) =>
      `- \`${parameter}\`${optional ? ' (optional)' : ''}: \`${JSON.stringify(schema)}\``,
  );
  return [
    `## ${name}`,
    '',
    `${definition.summary} ${capital(traits.join('; '))}.`,
    '',
    ...(parameters.length === 0 ? ['No arguments.'] : ['Arguments:', '', ...parameters]),
    '',
    `Value: \`${JSON.stringify(definition.result)}\``,
    '',
  ];
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
