import type { Json } from '@microbosh/errors';
import type { TemplateContext } from './evaluation-context.ts';

const shortestSecret = 4;
const shortestFragment = 10;

interface NamedValue {
  readonly name: string;
  readonly text: string;
}

/**
 * Replaces each property value that the manifest gives, and longer fragments of one, by the name of the property.
 * Defaults of the release are public and stay.
 */
export function redactValues(text: string, context: TemplateContext): string {
  const publicTexts = new Set(collectValues(context.defaults ?? {}, '').map((value) => value.text));
  const secrets = [...context.layers, ...context.linkValues]
    .flatMap((layer) => collectValues(layer.properties, ''))
    .filter(({ text: value }) => value.length >= shortestSecret && !publicTexts.has(value))
    .sort((left, right) => right.text.length - left.text.length);

  let redacted = text;
  for (const { name, text: value } of secrets) {
    for (const form of [value, JSON.stringify(value).slice(1, -1), Buffer.from(value).toString('base64')]) {
      redacted = replaceStandingAlone(redacted, form, placeholder(name));
    }
  }
  return redactFragments(redacted, secrets);
}

const placeholder = (name: string) => `<value of '${name}'>`;

/** A short value counts only where it is not part of a longer word: `root` says nothing about `chroot`. */
function replaceStandingAlone(text: string, value: string, replacement: string): string {
  if (value.length >= shortestFragment) return text.replaceAll(value, () => replacement);
  let result = '';
  let from = 0;
  for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, from)) {
    const isAlone = !/\w/.test(text[at - 1] ?? '') && !/\w/.test(text[at + value.length] ?? '');
    result += text.slice(from, at) + (isAlone ? replacement : value);
    from = at + value.length;
  }
  return result + text.slice(from);
}

/** Ruby's parsers quote the rest of what they could not read: parts of a value, cut anywhere. */
function redactFragments(text: string, secrets: readonly NamedValue[]): string {
  const forms = secrets
    .filter((secret) => secret.text.length >= shortestFragment)
    .flatMap(({ name, text: value }) => [
      { name, text: value },
      { name, text: JSON.stringify(value).slice(1, -1) },
    ]);
  const everything = forms.map((form) => form.text).join('\u0000');
  let result = '';
  let at = 0;
  while (at < text.length) {
    const window = text.slice(at, at + shortestFragment);
    if (window.length < shortestFragment || !everything.includes(window)) {
      result += text[at] ?? '';
      at += 1;
      continue;
    }
    const owner = forms.find((form) => form.text.includes(window));
    let end = at + shortestFragment;
    while (end < text.length && owner?.text.includes(text.slice(at, end + 1)) === true) end += 1;
    result += placeholder(owner?.name ?? '?');
    at = end;
  }
  return result;
}

function collectValues(value: Json | undefined, name: string): NamedValue[] {
  if (typeof value === 'string') {
    // The lines of a certificate or key leak one by one.
    const lines = value.includes('\n') ? value.split('\n').map((line) => line.trim()) : [];
    return [value, ...lines].map((text) => ({ name, text }));
  }
  // Long numbers can be account numbers or PINs; short ones are ports and sizes.
  if (typeof value === 'number')
    return [{ name, text: String(value) }].filter(({ text }) => text.length >= 6);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    collectValues(child, name === '' ? key : `${name}.${key}`),
  );
}
