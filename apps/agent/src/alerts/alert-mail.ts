import type { SupervisorEvent } from '../supervisor/port.ts';

const wanted = ['message-id', 'service', 'event', 'action', 'date', 'description'] as const;

/**
 * What a mail of monit says, in the format that alerts.monitrc asks for; undefined for a mail with nothing of it. Lines may
 * be anywhere; their names in any case, as the Ruby agent reads them. The date of the body counts before that of the header.
 *
 * @example parseAlertMail('Message-ID: <1.0@vm>\r\n\r\nService: web\r\nEvent: Does not exist\r\nAction: restart\r\n')
 */
export function parseAlertMail(mail: string, now = new Date()): SupervisorEvent | undefined {
  const found = new Map<string, string>();
  for (const line of mail.split(/\r?\n/)) {
    const [, name = '', value = ''] = /^\s*([A-Za-z-]+):\s*(.*)$/.exec(line) ?? [];
    const key = name.toLowerCase();
    if (wanted.some((each) => each === key)) found.set(key, value.trim());
  }
  const field = (name: (typeof wanted)[number]) => found.get(name) ?? '';
  if (!['service', 'event', 'action', 'description'].some((name) => found.has(name))) return undefined;
  const at = new Date(field('date'));
  return {
    id: field('message-id').replace(/^<|>$/g, ''),
    service: field('service'),
    event: field('event'),
    action: field('action'),
    description: field('description'),
    at: Number.isNaN(at.getTime()) ? now : at,
  };
}
