import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseProblems } from './monit-daemon.ts';
import { monitPaths, renderControlFile } from './monit-files.ts';
import { parseMonitStatus, processStatus, servicesOfGroup } from './monit-status.ts';

const service = (name: string, facts: string) => `<service name="${name}"><type>3</type>${facts}</service>`;
const document = (services: string, groups = '') =>
  `<?xml version="1.0" encoding="ISO-8859-1"?><monit id="a" incarnation="1795398633" version="5.33.0"><server><uptime>3</uptime></server><services>${services}</services><servicegroups>${groups}</servicegroups></monit>`;

describe('the status of monit', () => {
  it('is read in the form of _status2', () => {
    const status = parseMonitStatus(
      document(
        service(
          'a&amp;b',
          '<status>0</status><monitor>1</monitor><pendingaction>0</pendingaction><pid>7</pid><uptime>12</uptime><memory><percenttotal>2.1</percenttotal><kilobytetotal>21000</kilobytetotal></memory><cpu><percenttotal>0.3</percenttotal></cpu>',
        ) + service('other', '<status>0</status><monitor>1</monitor>'),
        '<servicegroup name="vcap"><service>a&amp;b</service></servicegroup>',
      ),
    );

    expect(status).toMatchObject({ incarnation: '1795398633', version: '5.33.0' });
    const [found] = servicesOfGroup(status);
    expect(servicesOfGroup(status)).toHaveLength(1);
    expect(found && processStatus(found)).toEqual({
      name: 'a&b',
      state: 'running',
      uptimeSecs: 12,
      memKb: 21_000,
      memPercent: 2.1,
      cpuTotal: 0.3,
    });
  });

  it('is read in the form of _status', () => {
    const status = parseMonitStatus(
      '<monit><server><incarnation>17</incarnation><version>5.2.5</version></server><service type="3"><name>web</name><status>512</status><monitor>1</monitor><pendingaction>0</pendingaction><status_message>process is not running</status_message></service><servicegroups><servicegroup name="vcap"><service>web</service></servicegroup></servicegroups></monit>',
    );

    expect(status).toMatchObject({ incarnation: '17', version: '5.2.5' });
    expect(servicesOfGroup(status)).toMatchObject([
      { name: 'web', type: 3, message: 'process is not running' },
    ]);
  });

  it.each([
    ['<status>0</status><monitor>0</monitor>', 'unknown'],
    ['<status>0</status><monitor>0</monitor><pendingaction>6</pendingaction>', 'starting'],
    ['<status>512</status><monitor>2</monitor>', 'starting'],
    ['<status>0</status><monitor>1</monitor>', 'running'],
    ['<status>512</status><monitor>1</monitor>', 'failing'],
    ['<status>512</status><monitor>1</monitor><pendingaction>6</pendingaction>', 'starting'],
  ])('%s is %s', (facts, state) => {
    const [found] = parseMonitStatus(document(service('web', facts))).services;

    expect(found && processStatus(found).state).toBe(state);
  });

  it.each(['<html>no</html>', 'nothing', ''])('is not %j', (answer) => {
    expect(() => parseMonitStatus(answer)).toThrow(/not understood/);
  });
});

it('finds file and line in what monit says about its files', () => {
  expect(
    parseProblems(
      "/v/job/0001_a.monitrc:3: syntax error 'chekc'\nsome other line\n/v/b.monitrc:12: Service name conflict\n",
    ),
  ).toEqual([
    { path: '/v/job/0001_a.monitrc', file: '0001_a.monitrc', line: 3, message: "syntax error 'chekc'" },
    { path: '/v/b.monitrc', file: 'b.monitrc', line: 12, message: 'Service name conflict' },
  ]);
});

it('writes the control file that the stemcell has', () => {
  const shipped = join(
    import.meta.dirname,
    '../../../../../libs/stemcell-builder/overlay/var/vcap/bosh/etc/monitrc',
  );

  expect(renderControlFile(monitPaths('/var/vcap'))).toBe(readFileSync(shipped, 'utf8'));
});
