/**
 * The meaning of rules once more, as slowly and plainly as can be: each rule is looked at for each
 * target, addresses are BigInts, wildcards are regular expressions. Shares nothing with src/bypass.
 */

interface Ip {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

const MAPPED = 0xffffn << 32n;

export function naiveIp(text: string): Ip | undefined {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) {
    const parts = text.split(".");
    if (parts.some((part) => Number(part) > 255 || (part.length > 1 && part[0] === "0"))) return;
    return { bits: 32, value: parts.reduce((sum, part) => sum * 256n + BigInt(part), 0n) };
  }
  if (!/^[0-9a-f:.]+$/i.test(text) || !text.includes(":")) return undefined;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const tail = naiveIp(dotted[2]!);
    if (tail === undefined) return undefined;
    const groups = [tail.value >> 16n, tail.value & 0xffffn].map((group) => group.toString(16));
    return naiveIp(dotted[1]! + groups.join(":"));
  }
  const halves = text.split("::").map((half) => (half === "" ? [] : half.split(":")));
  if (halves.length > 2) return undefined;
  const known = halves.flat();
  if (known.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  if (halves.length === 2 ? known.length > 7 : known.length !== 8) return undefined;
  const zeros = new Array<string>(8 - known.length).fill("0");
  const groups = halves.length === 2 ? [...halves[0]!, ...zeros, ...halves[1]!] : known;
  return {
    bits: 128,
    value: groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n),
  };
}

function isMapped({ bits, value }: Ip): boolean {
  return bits === 128 && value >> 32n === 0xffffn;
}

function unmap(ip: Ip): Ip {
  return isMapped(ip) ? { bits: 32, value: ip.value - MAPPED } : ip;
}

/** A wildcard as a regular expression. */
export function naiveGlob(pattern: string): RegExp {
  let depth = 0;
  const source = pattern.replace(/\[[^\]]*\]|[\s\S]/g, (token) => {
    if (token === "*") return "[\\s\\S]*";
    if (token === "?") return "[\\s\\S]";
    if (token === "{") return (depth++, "(?:");
    if (token === "}" && depth > 0) return (depth--, ")");
    if (token === "," && depth > 0) return "|";
    if (token.length > 1) return token.replace(/^\[!/, "[^");
    return token.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${source}$`, "u");
}

function takesPort(text: string | undefined, port: number): boolean {
  if (text === undefined) return true;
  const [min, max = min] = text.split("-").map(Number);
  return port >= min! && port <= max!;
}

/** Does one rule match? For rules whose ports make sense. */
export function naiveMatch(rule: string, host: string, port: number, compat: boolean): boolean {
  const own = naiveIp(host);
  const ip = own === undefined || compat ? own : unmap(own);
  const name = host.toLowerCase().replace(compat ? /$^/ : /\.$/, "");

  const net = /^([0-9a-fA-F.:]+)\/(\d+)(?::([\d-]+))?$/.exec(rule);
  const address = net === null ? undefined : naiveIp(net[1]!);
  if (net !== null && address !== undefined && !(compat && net[3] !== undefined)) {
    if (ip === undefined || !takesPort(net[3], port)) return false;
    let prefix = Number(net[2]);
    let base: Ip = address;
    if (!compat && isMapped(address) && prefix >= 96) {
      base = unmap(address);
      prefix -= 96;
    }
    const target = unmap(ip);
    if (base.bits !== target.bits) return false;
    const shift = BigInt(base.bits - prefix);
    return base.value >> shift === target.value >> shift;
  }

  if (/[*?]/.test(rule)) {
    const split = /^([^:]*):([\d-]+)$/.exec(rule);
    const pattern = (split?.[1] ?? rule).toLowerCase();
    const text = ip !== undefined && !compat && ip.bits === 32 ? ip4Text(ip.value) : name;
    return takesPort(split?.[2], port) && naiveGlob(pattern).test(text);
  }

  const [from = "", to = from] = rule.split("-").map((part) => part.trim());
  const ends = [naiveIp(from), naiveIp(to)].map((end) => (end && !compat ? unmap(end) : end));
  if (ends[0] !== undefined && ends[1] !== undefined && !rule.includes("--")) {
    if (ip === undefined || ends[0].bits !== ip.bits || ends[1].bits !== ip.bits) return false;
    return ip.value >= ends[0].value && ip.value <= ends[1].value;
  }

  const split = /^(?:\[([^\]]*)\]|([^:]*)):([\d-]+)$/.exec(rule);
  if (split === null && rule.includes(":")) return false;
  const hostText = (split?.[1] ?? split?.[2] ?? rule).toLowerCase();
  if (!takesPort(split?.[3], port)) return false;
  if (hostText === "") return split !== null && !compat;
  const hostIp = split === null ? undefined : naiveIp(hostText);
  if (hostIp !== undefined) {
    const wanted = compat ? hostIp : unmap(hostIp);
    return ip !== undefined && wanted.bits === ip.bits && wanted.value === ip.value;
  }
  if (ip !== undefined && !compat) return false;
  const bare = compat ? hostText : hostText.replace(/\.$/, "");
  if (!bare.startsWith(".")) return bare === name;
  return name === bare.slice(1) || name.endsWith(bare);
}

function ip4Text(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
}
