/** Seeded rules and targets that meet often: few labels, few networks, few ports. */
import type { Random } from "../kit/random.ts";

const LABELS = ["a", "b", "ads", "www", "x-1", "com", "org", "net", "co"];
const PORTS = [80, 443, 8080, 53];

export interface Maker {
  rule(): string;
  target(): { host: string; port: number };
}

export function makeMaker(random: Random): Maker {
  const pick = <T>(from: readonly T[]): T => from[random.below(from.length)]!;
  const name = (): string => {
    const labels = Array.from({ length: 1 + random.below(4) }, () => pick(LABELS));
    return labels.join(".");
  };
  const ip4 = (): string =>
    `10.${random.below(2)}.${random.below(3)}.${pick([0, 1, 7, 127, 128, 255])}`;
  const ip6 = (): string =>
    pick([
      `2001:db8::${random.below(4)}`,
      `2001:db8:${random.below(2)}:0:8000::`,
      "::1",
      `::ffff:${ip4()}`,
      "2001:0DB8:0:0:0:0:0:2",
    ]);
  const ports = (): string => {
    const min = 1 + random.below(9000);
    return pick([String(pick(PORTS)), `${min}-${min + random.below(9000)}`, "0-65535", "80-443"]);
  };
  const glob = (): string => {
    const text = name();
    const at = random.below(text.length + 1);
    const cut = text.slice(0, at) + pick(["*", "?", "*"]) + text.slice(at + random.below(3));
    return pick([cut, `*.${text}`, `*${text}`, `${text}*`, `[a-c]*.${text}`, `{${text},www}.*`]);
  };
  const rule = (): string => {
    const port = random.below(3) === 0 ? `:${ports()}` : "";
    switch (random.below(9)) {
      case 0:
        return `${ip4()}/${8 + random.below(25)}`;
      case 1:
        return `2001:db8:${random.below(3)}::/${16 + random.below(113)}`;
      case 2: {
        const ends = [ip4(), ip4()].sort();
        return pick([
          `${ends[0]!}-${ends[1]!}`,
          ip4(),
          ip6(),
          `2001:db8::1 - 2001:db8::${ip4().length}`,
        ]);
      }
      case 3:
        return port === "" ? ip4() : `${ip4()}${port}`;
      case 4:
        return port === "" ? ip6() : `[${ip6()}]${port}`;
      case 5:
        return glob() + port;
      case 6:
        return `.${name()}${port}`;
      default:
        return name() + port;
    }
  };
  const target = (): { host: string; port: number } => {
    const host = pick([name, name, name, ip4, ip4, ip6])();
    const cased = random.below(8) === 0 ? host.toUpperCase() : host;
    const dotted = random.below(10) === 0 && !/[\d:]$/.test(cased) ? `${cased}.` : cased;
    return { host: dotted, port: random.below(3) === 0 ? 1 + random.below(65535) : pick(PORTS) };
  };
  return { rule, target };
}
