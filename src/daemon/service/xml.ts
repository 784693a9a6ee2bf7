/** Text as XML holds it. */
export function xml(text: string): string {
  const names: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&apos;',
  };
  return text.replace(/[&<>"']/g, (character) => names[character] ?? character);
}

/** Inside a comment two hyphens would end it. */
export function xmlComment(text: string): string {
  return `<!-- ${text.replaceAll('--', '- -')} -->`;
}
