import { describe, expect, it } from 'vitest';
import { Metrics } from './metrics.ts';

describe('the metrics', () => {
  it('count answers by route, method and status, and how long they took', () => {
    const metrics = new Metrics(() => 3);
    metrics.countAnswer('/healthz', 'GET', 200, 0.0004);
    metrics.countAnswer('/healthz', 'GET', 200, 0.02);
    metrics.countAnswer('/healthz', 'GET', 503, 7);
    const lines = metrics.render().text.split('\n');
    expect(lines).toContain(
      'microbosh_registry_requests_total{route="/healthz",method="GET",status="200"} 2',
    );
    expect(lines).toContain(
      'microbosh_registry_requests_total{route="/healthz",method="GET",status="503"} 1',
    );
    const bucket = 'microbosh_registry_request_seconds_bucket{route="/healthz",le=';
    expect(lines.filter((line) => line.startsWith(bucket)).map((line) => line.slice(bucket.length))).toEqual([
      '"0.0005"} 1',
      '"0.001"} 1',
      '"0.0025"} 1',
      '"0.005"} 1',
      '"0.01"} 1',
      '"0.025"} 2',
      '"0.05"} 2',
      '"0.1"} 2',
      '"0.25"} 2',
      '"1"} 2',
      '"5"} 2',
      '"+Inf"} 3',
    ]);
    expect(lines).toContain('microbosh_registry_request_seconds_count{route="/healthz"} 3');
    expect(lines).toContain('microbosh_registry_request_seconds_sum{route="/healthz"} 7.0204');
    expect(lines).toContain('microbosh_registry_connections 3');
  });

  it('count refusals, reads and writes', () => {
    const metrics = new Metrics(() => 0);
    metrics.countDenied('unknown-token');
    metrics.countRead('token');
    expect(metrics.render().text).toContain('microbosh_registry_settings_writes_total 0\n');
    metrics.countWrite();
    const { text } = metrics.render();
    expect(text).toContain('microbosh_registry_denied_total{reason="unknown-token"} 1\n');
    expect(text).toContain('microbosh_registry_settings_reads_total{identity="token"} 1\n');
    expect(text).toContain('microbosh_registry_settings_writes_total 1\n');
  });

  it('are lines that Prometheus can read, each family named once', () => {
    const metrics = new Metrics(() => 0);
    metrics.countAnswer('a "quoted" \\ route', 'GET', 200, 1);
    const { contentType, text } = metrics.render();
    expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(text.endsWith('\n')).toBe(true);
    expect(text).toContain('route="a \\"quoted\\" \\\\ route"');
    const label = '[a-z_]+="(?:[^"\\\\\\n]|\\\\.)*"';
    const sample = new RegExp(`^[a-z_]+(?:\\{${label}(?:,${label})*\\})? [0-9.e+-]+$`);
    const lines = text.trimEnd().split('\n');
    expect(lines.filter((line) => !line.startsWith('#') && !sample.test(line))).toEqual([]);
    const types = lines.filter((line) => line.startsWith('# TYPE ')).map((line) => line.split(' ')[2]);
    expect(new Set(types).size).toBe(types.length);
    expect(types).toContain('process_resident_memory_bytes');
  });
});
