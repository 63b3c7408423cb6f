import type { FaultRule } from '../fault-proxy/fault-proxy.ts';

/**
 * What moto does otherwise than AWS and the CPI would notice, put right on the way: moto registers an image with a snapshot
 * of its own instead of the one that was named.
 */
export function motoDeviations(): readonly FaultRule[] {
  const snapshots = new Map<string, string>();
  const rule = (action: string, change: (body: string, requestBody: string) => string): FaultRule => ({
    // Blocks of snapshots are put: half a megabyte each to look through.
    method: 'POST',
    path: /./,
    body: new RegExp(`(^|&)Action=${action}(&|$)`),
    times: Number.POSITIVE_INFINITY,
    fault: { kind: 'rewrite', change },
  });
  return [
    rule('RegisterImage', (body, requestBody) => {
      const id = /<imageId>([^<]+)</.exec(body)?.[1];
      const snapshot = new URLSearchParams(requestBody).get('BlockDeviceMapping.1.Ebs.SnapshotId');
      if (id !== undefined && snapshot !== null) snapshots.set(id, snapshot);
      return body;
    }),
    rule('DescribeImages', (body) =>
      body
        .split('<item><blockDeviceMapping>')
        .map((image) => {
          const snapshot = snapshots.get(/<imageId>([^<]+)</.exec(image)?.[1] ?? '');
          if (snapshot === undefined) return image;
          return image.replace(/<snapshotId>[^<]*</g, `<snapshotId>${snapshot}<`);
        })
        .join('<item><blockDeviceMapping>'),
    ),
  ];
}
