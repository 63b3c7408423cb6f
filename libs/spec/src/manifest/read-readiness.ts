import type { ReadinessCheck } from '../deployment-model.ts';
import type { DocumentCursor } from './document-cursor.ts';
import { readPem } from './read-pem.ts';

/** Our key `readiness` of both manifests. */
export function readReadiness(list: DocumentCursor): ReadinessCheck[] {
  return list.items().map((check, index) => {
    const url = check.get('url').text();
    if (!/^https?:\/\/./.test(url)) check.get('url').fail(`readiness[${index}].url must be an http(s) URL`);
    const ca = readPem(check.get('ca'), `readiness[${index}].ca must be a PEM certificate`);
    const status = check.get('expect_status');
    const timeout = check.get('timeout');
    const seconds = timeout.present ? timeout.integer() : 120;
    if (seconds <= 0) timeout.fail(`readiness[${index}].timeout must be > 0`);
    return {
      url,
      ...(ca === undefined ? {} : { ca }),
      expectStatus: status.present ? status.integer() : 200,
      timeoutMs: seconds * 1000,
    };
  });
}
