/** Payloads that a reader of a hex dump recognises. */

/** The bytes of `text`, repeated up to `length`. */
export function bytesOf(text: string, length = text.length): Uint8Array {
  const one = new TextEncoder().encode(text);
  return Uint8Array.from({ length }, (_, index) => one[index % one.length] ?? 0);
}
