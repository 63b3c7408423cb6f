import type { JobLinks, ConsumedLink, CustomLink, ProvidedLink } from '../deployment-model.ts';
import type { DocumentCursor } from './document-cursor.ts';

/** `consumes`, `provides` and `custom_provider_definitions` of a job in the manifest, with a Director's rules and texts. */
export function readJobLinks(job: DocumentCursor, jobName: string, groupName: string): JobLinks {
  const where = `in job '${jobName}' in instance group '${groupName}'`;
  return {
    consumes: entriesOf(job.get('consumes'), (cursor, name) => readConsumed(cursor, name, where)),
    provides: entriesOf(job.get('provides'), (cursor, name) => readProvided(cursor, name, where)),
    custom: job
      .get('custom_provider_definitions')
      .items()
      .map((cursor) => readCustom(cursor, where)),
  };
}

function entriesOf<Item>(
  cursor: DocumentCursor,
  read: (cursor: DocumentCursor, name: string) => Item,
): Readonly<Record<string, Item>> {
  return Object.fromEntries(Object.keys(cursor.map()).map((name) => [name, read(cursor.get(name), name)]));
}

/** The text `nil` takes the link away; an empty value says nothing. */
function isNil(cursor: DocumentCursor): boolean {
  return cursor.text() === 'nil';
}

function readConsumed(cursor: DocumentCursor, name: string, where: string): ConsumedLink {
  if (isNil(cursor)) return { kind: 'none' };
  if (!cursor.present) return { kind: 'implicit' };
  if (!cursor.isMap) {
    cursor.fail(`Link '${name}' ${where} must be a map, or nil`);
    return { kind: 'implicit' };
  }
  const from = cursor.get('from');
  const deployment = cursor.get('deployment');
  const instances = cursor.get('instances');
  const properties = cursor.get('properties');
  if (deployment.present) {
    deployment.fail(
      `Link '${name}' ${where} comes from deployment '${deployment.text()}', and there is no other deployment: give it by hand with instances`,
    );
  }
  if (from.present && instances.present)
    from.fail(`Cannot specify both 'instances' and 'from' keys for link '${name}' ${where}.`);
  if (properties.present && !instances.present)
    properties.fail(`Cannot specify 'properties' without 'instances' for link '${name}' ${where}.`);
  if (instances.present) {
    if (!instances.isList) instances.fail(`The instances of link '${name}' ${where} must be a list`);
    if (properties.present && !properties.isMap)
      properties.fail(`The properties of link '${name}' ${where} must be a map`);
    const address = cursor.get('address').text();
    return {
      kind: 'manual',
      instances: instances.items().map((instance) => {
        if (!instance.isMap) instance.fail(`An instance of link '${name}' ${where} must be a map`);
        return instance.map();
      }),
      properties: properties.map(),
      ...(address === '' ? {} : { address }),
    };
  }
  return from.present ? { kind: 'from', from: from.text(), position: from.position } : { kind: 'implicit' };
}

function readProvided(cursor: DocumentCursor, name: string, where: string): ProvidedLink {
  if (isNil(cursor)) return { kind: 'none' };
  if (cursor.present && !cursor.isMap) cursor.fail(`Link '${name}' ${where} must be a map, or nil`);
  const as = cursor.get('as').text();
  // `shared` is for other deployments, and there are none.
  return { kind: 'provided', ...(as === '' ? {} : { as }) };
}

function readCustom(cursor: DocumentCursor, where: string): CustomLink {
  const name = cursor.get('name').text();
  const type = cursor.get('type').text();
  if (name === '' || type === '') cursor.fail(`A custom provider ${where} needs a name and a type`);
  return { name, type, properties: cursor.get('properties').texts() };
}
