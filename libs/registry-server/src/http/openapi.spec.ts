import { describe, expect, it } from 'vitest';
import { OPERATIONS, openApiDocument } from './openapi.ts';
import { docsPage } from './pages/docs-page.ts';

describe('the OpenAPI document', () => {
  it('describes every operation with its parameters', () => {
    const document = JSON.parse(JSON.stringify(openApiDocument('1'))) as {
      paths: Record<string, Record<string, { parameters: { name: string; in: string }[] }>>;
    };

    for (const { path, method } of OPERATIONS) {
      const inPath = document.paths[path]?.[method]?.parameters.filter((one) => one.in === 'path');
      expect(inPath?.map((one) => `{${one.name}}`)).toEqual(path.match(/\{\w+\}/g) ?? []);
    }
  });

  it('is rendered completely', () => {
    const html = docsPage();

    for (const { path, summary } of OPERATIONS) {
      expect(html).toContain(`<code>${path}</code>`);
      expect(html).toContain(summary.split('`')[0]);
    }
    expect(html).not.toContain('<script');
  });
});
