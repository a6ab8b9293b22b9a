/**
 * Domain names of DNS messages: wire form (RFC 1035 §3.1, §4.1.4) and text (§5.1). Text has no
 * trailing dot, the root is ""; a dot or backslash inside a label, and bytes that are not
 * printable, are escaped (`\.`, `\\`, `\DDD`). The case of letters is kept; compare with
 * `sameName`.
 *
 * A pointer may only lead to a place before the part of the name that it ends: so each follows a
 * smaller offset, and loops cannot be written.
 */

export const NAME_BYTES_MAX = 255;
export const LABEL_BYTES_MAX = 63;

const POINTER = 0xc0;
const POINTER_OFFSET_MAX = 0x3fff;

export interface NameAt {
  readonly name: string;
  /** Of the first byte behind the name where it stands, not where a pointer led. */
  readonly end: number;
}

/** The name at `offset`; undefined where it is malformed, too long or leaves `bytes`. */
export function decodeName(bytes: Uint8Array, offset: number): NameAt | undefined {
  const labels: string[] = [];
  let at = offset;
  let end = -1;
  /** Pointers must lead below this. */
  let limit = offset;
  let wireBytes = 1;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) break;
    if (length >= POINTER) {
      const low = bytes[at + 1];
      if (low === undefined) return undefined;
      if (end < 0) end = at + 2;
      at = ((length & 0x3f) << 8) | low;
      if (at >= limit) return undefined;
      limit = at;
      continue;
    }
    if (length > LABEL_BYTES_MAX || at + 1 + length > bytes.length) return undefined;
    wireBytes += 1 + length;
    if (wireBytes > NAME_BYTES_MAX) return undefined;
    labels.push(labelText(bytes, at + 1, length));
    at += 1 + length;
  }
  return { name: labels.join("."), end: end < 0 ? at + 1 : end };
}

function labelText(bytes: Uint8Array, offset: number, length: number): string {
  let text = "";
  for (let index = offset; index < offset + length; index++) {
    const byte = bytes[index] ?? 0;
    const char = String.fromCharCode(byte);
    if (byte <= 0x20 || byte >= 0x7f) text += `\\${String(byte).padStart(3, "0")}`;
    else text += char === "." || char === "\\" ? `\\${char}` : char;
  }
  return text;
}

/** The labels of a name as bytes; undefined where the text is no name that fits. */
export function labelsOf(name: string): Uint8Array[] | undefined {
  const text = name === "." ? "" : name;
  if (text.length > 4 * NAME_BYTES_MAX) return undefined;
  const labels: Uint8Array[] = [];
  let label: number[] = [];
  let wireBytes = 1;
  const take = (): boolean => {
    if (label.length === 0 || label.length > LABEL_BYTES_MAX) return false;
    wireBytes += 1 + label.length;
    labels.push(Uint8Array.from(label));
    label = [];
    return wireBytes <= NAME_BYTES_MAX;
  };
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code > 0xff) return undefined;
    if (text[index] === ".") {
      if (!take()) return undefined;
    } else if (text[index] === "\\") {
      const digits = /^\d{3}/.exec(text.slice(index + 1, index + 4));
      const escaped = digits === null ? text.charCodeAt(index + 1) : Number(digits[0]);
      // NaN behind the last character.
      if (!(escaped <= 0xff)) return undefined;
      label.push(escaped);
      index += digits === null ? 1 : 3;
    } else {
      label.push(code);
    }
  }
  // What is left is the last label, of a name without the dot at its end.
  if (label.length > 0 && !take()) return undefined;
  return labels;
}

/** Where suffixes of names stand in a message that is being written. */
export type NameOffsets = Map<string, number>;

/**
 * The name's wire form to be written at `offset`, compressed where `known` has a suffix of it,
 * which then learns the new ones. Without `known`: uncompressed. Throws RangeError for what is no
 * name.
 */
export function encodeName(name: string, offset = 0, known?: NameOffsets): Uint8Array {
  const labels = labelsOf(name);
  if (labels === undefined) throw new RangeError(`${JSON.stringify(name)} is not a domain name`);
  const bytes: number[] = [];
  for (let index = 0; index < labels.length; index++) {
    const key = known === undefined ? "" : suffixKey(labels, index);
    const seen = known?.get(key);
    if (seen !== undefined) {
      bytes.push(POINTER | (seen >> 8), seen & 255);
      return Uint8Array.from(bytes);
    }
    const place = offset + bytes.length;
    if (place <= POINTER_OFFSET_MAX) known?.set(key, place);
    const label = labels[index] ?? new Uint8Array(0);
    bytes.push(label.length, ...label);
  }
  bytes.push(0);
  return Uint8Array.from(bytes);
}

function suffixKey(labels: readonly Uint8Array[], from: number): string {
  const rest = labels.slice(from).map((label) => labelText(label, 0, label.length));
  return rest.join(".").toLowerCase();
}

/** RFC 4343: letters of ASCII count without their case. */
export function sameName(one: string, other: string): boolean {
  return one.length === other.length && one.toLowerCase() === other.toLowerCase();
}
