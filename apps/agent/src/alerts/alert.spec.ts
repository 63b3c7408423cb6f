import { describe, expect, it } from 'vitest';
import { parseAlertMail } from './alert-mail.ts';
import { alertOf, alertSeverity } from './alert.ts';
import { sshAlert } from './ssh-alerts.ts';

const mail = [
  'From: monit@localhost',
  'To: agent@local',
  'Subject: Monit Alert',
  'Date: Mon, 23 Nov 2026 01:50:36 +0000',
  'Message-Id: <1795398636.1@vm>',
  '',
  'Service: nats',
  'Event: Does not exist',
  'Action: restart',
  'Date: Sun, 22 May 2011 20:07:41 +0500',
  'Description: process is not running: code 7',
  '',
].join('\r\n');

describe('a mail of monit', () => {
  it('becomes an alert with the addresses of the machine', () => {
    const event = parseAlertMail(mail);

    expect(
      event &&
        alertOf(event, {
          b: { type: 'manual', ip: '10.0.0.6' },
          a: { type: 'manual', ip: '10.0.0.5' },
          c: { type: 'dynamic' },
        }),
    ).toEqual({
      id: '1795398636.1@vm',
      severity: 1,
      title: 'nats (10.0.0.5, 10.0.0.6) - Does not exist - restart',
      summary: 'process is not running: code 7',
      created_at: 1_306_076_861,
    });
  });

  it('has the time of now when its own is none', () => {
    const now = new Date(1_000_000);

    expect(parseAlertMail('Service: a\nDate: whenever\n', now)?.at).toBe(now);
  });

  it('is no alert when it says nothing of one', () => {
    expect(
      parseAlertMail('From: someone@else\r\nMessage-Id: <1@a>\r\nDate: now\r\n\r\nHello\r\n'),
    ).toBeUndefined();
  });
});

it.each([
  ['Does not exist', 1],
  ['Connection failed', 1],
  ['Execution failed', 1],
  ['Timeout', 2],
  ['PID failed', 2],
  ['never heard of', 2],
  ['Resource limit matched', 3],
  ["Content doesn't match", 3],
  ['PID changed', 4],
  ['Timestamp changed', 4],
  ['Exists', -1],
  ['Connection succeeded', -1],
  ['Checksum not changed', -1],
  ['Action done', -1],
  ['Monit instance changed', -1],
])('%s has severity %s', (event, severity) => {
  expect(alertSeverity(event)).toBe(severity);
  const alert = alertOf(
    { id: '1', service: 's', event, action: 'alert', description: '', at: new Date() },
    {},
  );
  expect(alert?.severity).toBe(severity < 0 ? undefined : severity);
});

it('knows logins and logouts in the log', () => {
  expect(sshAlert('<38>sshd[1]: Accepted publickey for vcap')).toMatchObject({
    title: 'SSH Login',
    severity: 4,
    summary: 'sshd[1]: Accepted publickey for vcap',
  });
  expect(sshAlert('sshd[1]: 11: disconnected by user\r')).toMatchObject({ title: 'SSH Logout' });
  expect(sshAlert('sshd[1]: Failed password for vcap')).toBeUndefined();
});
