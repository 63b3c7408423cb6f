import { OPERATIONS, WHO } from '../openapi.ts';
import type { Operation } from '../openapi.ts';
import { escapeHtml, page } from './html.ts';

/** The OpenAPI document for people. */
export function docsPage(): string {
  return page(
    'Registry: API',
    `<p>The same as <a href="/openapi.json">OpenAPI</a>.</p>\n${OPERATIONS.map(sectionOf).join('\n')}`,
  );
}

function sectionOf(operation: Operation): string {
  const list = (title: string, entries: Readonly<Record<string, string>> | undefined) =>
    entries
      ? `<tr><th>${title}</th><td>${Object.entries(entries)
          .map(([name, text]) => `<code>${escapeHtml(name)}</code> ${prose(text)}`)
          .join('<br>')}</td></tr>`
      : '';
  return `<section>
<h2><span class="verb">${operation.method.toUpperCase()}</span> <code>${escapeHtml(operation.path)}</code></h2>
<p>${prose(operation.summary)}</p>
<table>
<tr><th>For</th><td>${escapeHtml(WHO[operation.who])}</td></tr>
${list('Query', operation.query)}${list('Headers', operation.headers)}${list('Answers', operation.answers)}
</table>
${operation.body ? `<pre><code>${escapeHtml(JSON.stringify(operation.body, null, 2))}</code></pre>` : ''}
</section>`;
}

function prose(text: string): string {
  return escapeHtml(text).replace(/`([^`]+)`/g, '<code>$1</code>');
}
