/**
 * Wildcards as tokens (abi.ts, GLOB_…) against a name. A star is tried at its leftmost place first
 * and only the last star is ever moved, so the work is at most the product of both lengths, and
 * grows with their sum where stars stand between single characters.
 */
import * as layout from "../layout";

const STAR: u32 = layout.GLOB_STAR;

/** Bytes of the UTF-8 character at `ptr`, of which `left` bytes are there. */
function characterBytes(ptr: usize, left: u32): u32 {
  const lead = <u32>load<u8>(ptr);
  let bytes: u32 = 1;
  if (lead >= 0xc0) bytes = lead < 0xe0 ? 2 : 3;
  if (lead >= 0xf0) bytes = 4;
  return bytes < left ? bytes : left;
}

function codePoint(ptr: usize, bytes: u32): u32 {
  const lead = <u32>load<u8>(ptr);
  if (bytes == 1) return lead;
  let code = lead & (0x7f >> bytes);
  for (let i: u32 = 1; i < bytes; i++) code = (code << 6) | ((<u32>load<u8>(ptr + i)) & 0x3f);
  return code;
}

/** Bytes of the token at `token`; `left` bytes are there. */
function tokenBytes(token: usize, left: u32): u32 {
  if (<u32>load<u8>(token) != layout.GLOB_CLASS) return 1;
  if (left < 3) return left;
  const pairs: u32 = load<u8>(token, 2);
  const bytes: u32 = 3 + 6 * pairs;
  return bytes < left ? bytes : left;
}

function point(ptr: usize): u32 {
  return (<u32>load<u16>(ptr)) | ((<u32>load<u8>(ptr, 2)) << 16);
}

/** Bytes of the target that one token other than a star takes; 0: it does not match. */
function takeOne(token: usize, tokenLength: u32, text: usize, left: u32): u32 {
  const kind = <u32>load<u8>(token);
  if (kind >= layout.GLOB_LITERAL) return <u32>load<u8>(text) == kind ? 1 : 0;
  const bytes = characterBytes(text, left);
  if (kind == layout.GLOB_ANY) return bytes;
  if (kind != layout.GLOB_CLASS) return 0;
  const code = codePoint(text, bytes);
  let isIn: bool = false;
  for (let at: u32 = 3; at + 6 <= tokenLength; at += 6) {
    const first = point(token + at);
    if (code >= first && code <= point(token + at + 3)) isIn = true;
  }
  const isNegated = load<u8>(token, 1) != 0;
  return isIn != isNegated ? bytes : 0;
}

/** Do the tokens match the whole of the text? */
export function globMatches(tokens: usize, tokensBytes: u32, text: usize, textBytes: u32): bool {
  let at: u32 = 0;
  let from: u32 = 0;
  let hasStar: bool = false;
  let afterStar: u32 = 0;
  let starFrom: u32 = 0;
  while (from < textBytes) {
    if (at < tokensBytes) {
      if (<u32>load<u8>(tokens + at) == STAR) {
        hasStar = true;
        afterStar = ++at;
        starFrom = from;
        if (at == tokensBytes) return true;
        continue;
      }
      const length = tokenBytes(tokens + at, tokensBytes - at);
      const taken = takeOne(tokens + at, length, text + from, textBytes - from);
      if (taken != 0) {
        at += length;
        from += taken;
        continue;
      }
    }
    if (!hasStar) return false;
    starFrom += characterBytes(text + starFrom, textBytes - starFrom);
    from = starFrom;
    at = afterStar;
  }
  while (at < tokensBytes && <u32>load<u8>(tokens + at) == STAR) at++;
  return at == tokensBytes;
}
