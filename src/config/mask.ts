/**
 * Hides what is secret in anything that is shown: -O, messages, logs. By the name of the key, and
 * by the look of the value (user and password, or a token, in a URL).
 */
import type { DocValue } from "./document.ts";

export const MASK = "***";

const SECRET_WORDS =
  "auths?|pass(word|phrase|wd)?|secret|token|psk|key|credentials?|api[-_]?key|knock|" +
  "(proxy-)?authorization|(set-)?cookie|x-api-key|x-auth-token|users|headers?";
const SECRET_KEY = new RegExp(`^(.*[.\\-_])?(${SECRET_WORDS})$`, "i");

/** Whether the value of such a key is not to be shown. */
export function isSecretKey(key: string): boolean {
  return SECRET_KEY.test(key);
}

/** A URL, or what looks like one, with passwords and tokens hidden. */
export function maskUrl(text: string): string {
  return (
    maskUser(text)
      .replace(
        /([?&](?:[^=&]*\.)?(?:auth|pass(?:word|phrase)?|key|psk|secret|token|knock)=)[^&#\s]*/gi,
        `$1${MASK}`,
      )
      // URLs inside of a value, such as a name server's.
      .replace(/([=,][a-z][a-z0-9+.-]*:\/\/[^\s:@/?#&]*):[^\s@/?#&]*@/gi, `$1:${MASK}@`)
  );
}

/** Of `user:password@`; a password with an unescaped / ? or # counts up to the last @, too. */
function maskUser(text: string): string {
  const start = /^[^/?#@]*:\/\//.exec(text)?.[0].length ?? 0;
  const authorityEnd = start + (/[/?#]/.exec(text.slice(start))?.index ?? text.length - start);
  const inAuthority = text.lastIndexOf("@", authorityEnd - 1);
  const at = inAuthority >= start ? inAuthority : strayAt(text, start, authorityEnd);
  const colon = text.indexOf(":", start);
  if (at < 0 || colon < 0 || colon > at) return text;
  return `${text.slice(0, colon)}:${MASK}${text.slice(at)}`;
}

/** Index of an @ that ends a user and password with an unescaped / ? or #, or -1. */
export function strayAt(text: string, start: number, authorityEnd: number): number {
  const authority = text.slice(start, authorityEnd);
  const isHost = !authority.includes(":") || /:[\d-]*$/.test(authority);
  const at = text.lastIndexOf("@");
  if (at < authorityEnd) return -1;
  // In a path there is no place for it; in a query there is, as part of a value.
  const inValue = /[?&][^?&@]*=[^&]*$/.test(text.slice(authorityEnd, at));
  return isHost && inValue ? -1 : at;
}

/** URLs anywhere in a text. */
export function maskText(text: string): string {
  return text.includes("://") ? text.replace(/[a-z][a-z0-9+.-]*:\/\/[^\s"']+/gi, maskUrl) : text;
}

/** A value for a message: as JSON, cut, and hidden where `path` (a key, or keys) says secret. */
export function shown(path: string, value: DocValue, max = 120): string {
  const keys = path.split(/\.|\[\d+\]/);
  const isSecret = isSecretKey(path) || keys.some((key) => key !== "key" && isSecretKey(key));
  if (isSecret) return `"${MASK}"`;
  const text = JSON.stringify(maskDeep(value));
  return text.length > max ? `${text.slice(0, max)}…` : text;
}

/** The same value with everything secret in it hidden. */
export function maskDeep(value: DocValue): DocValue {
  if (typeof value === "string") return maskText(value);
  if (Array.isArray(value)) return value.map(maskDeep);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      isSecretKey(key) && (typeof item !== "object" || Array.isArray(item)) ? MASK : maskDeep(item),
    ]),
  );
}
