/** TCP flags as letters, lowest bit first: FIN SYN RST PSH ACK URG ECE CWR (RFC 9293 §3.1). */
const LETTERS = "FSRPAUEC";

export function flagBits(flags: string | number): number {
  if (typeof flags === "number") return flags;
  let bits = 0;
  for (const letter of flags) {
    const bit = LETTERS.indexOf(letter);
    if (bit < 0) throw new Error(`"${letter}" is no TCP flag`);
    bits |= 1 << bit;
  }
  return bits;
}

/** In the order of the bits: an acknowledged SYN is "SA", a FIN with ACK "FA". */
export function flagText(bits: number): string {
  return [...LETTERS].filter((_, i) => (bits & (1 << i)) !== 0).join("");
}
