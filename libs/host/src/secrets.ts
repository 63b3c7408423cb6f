/**
 * Secret values known to this process, in the forms in which they could leak: plain, base64, URL-encoded and as they
 * stand inside a JSON string. Everything that is printed or logged passes through `redact`.
 */
export class SecretRegister {
  readonly #forms = new Set<string>();

  /** Values shorter than four characters are not registered: they would mangle every text. */
  add(value: string): void {
    const trimmed = value.trim();
    if (trimmed.length < 4) return;
    const encoded = JSON.stringify(trimmed).slice(1, -1);
    for (const form of [
      trimmed,
      encoded,
      encodeURIComponent(trimmed),
      Buffer.from(trimmed).toString('base64'),
    ]) {
      this.#forms.add(form);
    }
  }

  redact(text: string): string {
    let result = text;
    for (const form of [...this.#forms].sort((a, b) => b.length - a.length)) {
      result = result.replaceAll(form, '<redacted>');
    }
    return result;
  }
}
