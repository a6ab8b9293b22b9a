/** What several targets make their inputs of. */
import type { Random } from "../../kit/random.ts";

const HOSTS = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "a.example", "", "::", "x", "1.2"];
const LETTERS = [..."abcxyz019.-:@/\\%?#[]{}*~ \"'\té漢\0"];

export function randomAddress(random: Random): { host: string; port: number } {
  const host = random.chance(0.1) ? "n".repeat(random.below(256)) : random.pick(HOSTS);
  return { host, port: random.pick([0, 1, 53, 80, 443, 65_535]) };
}

export function randomText(random: Random, most: number): string {
  return Array.from({ length: random.below(most + 1) }, () => random.pick(LETTERS)).join("");
}

/** A first byte that says which parser is meant, and one to three messages for it. */
export function withMode(
  random: Random,
  modes: number,
  make: (mode: number) => Uint8Array,
): Uint8Array {
  const mode = random.below(modes);
  const parts = Array.from({ length: random.pick([1, 1, 2, 3]) }, () => make(mode));
  return Uint8Array.from(Buffer.concat([Uint8Array.of(mode), ...parts]));
}

export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "utf8"));
}
