/**
 * Rules of bypasses and targets against them (src/bypass): any text, and for lists of forms that
 * the naive matcher knows, the same answers. Lines are rules, lines with `>` are `host port`.
 */
import { codeOf } from "../../../src/errors.ts";
import { makeBypass } from "../../bypass/kit.ts";
import { naiveIp, naiveMatch } from "../../bypass/naive.ts";
import { makeMaker } from "../../bypass/random-rules.ts";
import { fuzzRule } from "../bypass-rule.ts";
import { type Target, check } from "../target.ts";
import { bytesOf } from "./parts.ts";

const RULES_MAX = 60;
const TARGETS_MAX = 20;
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?";
const NAME = new RegExp(`^\\.?${LABEL}(\\.${LABEL}){0,5}(:\\d{1,5}(-\\d{1,5})?)?$`);
const HOST = new RegExp(`^${LABEL}(\\.${LABEL}){0,5}\\.?$`, "i");

/** Forms that the naive matcher and GOST's grammar agree on beyond doubt. */
function isKnown(rule: string): boolean {
  const net = /^([\d.]+|[\da-f:]+)\/(0|[1-9]\d{0,2})$/.exec(rule);
  if (net !== null) {
    const ip = naiveIp(net[1] ?? "");
    return ip !== undefined && Number(net[2]) <= ip.bits && !isMapped(rule);
  }
  const ends = rule.split("-");
  if (/^[\d.]+-[\d.]+$/.test(rule)) return ends.every((end) => naiveIp(end)?.bits === 32);
  const ports = /:(\d+)(?:-(\d+))?$/.exec(rule);
  if (!NAME.test(rule) || looksNumeric(rule)) return false;
  if (ports === null) return true;
  const [, min = "0", max = min] = ports;
  const isWritten = [min, max].every((port) => String(Number(port)) === port);
  return isWritten && Number(min) <= Number(max) && Number(max) <= 65_535 && Number(min) > 0;
}

/** Names that IDNA takes for numbers of addresses, or for itself. */
function looksNumeric(rule: string): boolean {
  const host = rule.replace(/:.*$/, "").replace(/^\./, "");
  return /(^|\.)(\d+|0x[\da-f]*)\.?$/.test(host) || /(^|\.)(xn--|[^.]{2}--)/.test(host);
}

function isMapped(text: string): boolean {
  return text.includes("ffff") || (text.includes(".") && text.includes(":"));
}

function isKnownHost(host: string): boolean {
  if (naiveIp(host) !== undefined) return !isMapped(host);
  return HOST.test(host) && !looksNumeric(host.toLowerCase());
}

interface Lists {
  readonly rules: string[];
  readonly targets: { host: string; port: number }[];
}

function read(input: Uint8Array): Lists {
  const rules: string[] = [];
  const targets: Lists["targets"] = [];
  for (const line of Buffer.from(input).toString("utf8").split("\n")) {
    const target = /^>(\S*) (\d{1,5})$/.exec(line);
    if (target === null) rules.push(line);
    else targets.push({ host: target[1] ?? "", port: Number(target[2]) & 0xffff });
  }
  return { rules: rules.slice(0, RULES_MAX), targets: targets.slice(0, TARGETS_MAX) };
}

async function compare({ rules, targets }: Lists, compat: boolean): Promise<string> {
  let bypass;
  try {
    bypass = await makeBypass(rules, { compat });
  } catch (error) {
    check(codeOf(error) === "TSGOST_ERR_CONFIG" && !compat, `refused: ${String(error)}`);
    return "refused";
  }
  const isAllKnown = rules.every(isKnown);
  const hits = new Set<boolean>();
  try {
    for (const { host, port } of targets) {
      const { bypassed, rule } = bypass.explain("tcp", host, port);
      hits.add(bypassed);
      check(bypassed === (bypass.match("tcp", host, port) !== undefined), "explains otherwise");
      if (!isAllKnown || !isKnownHost(host)) continue;
      const wanted = rules.filter((one) => naiveMatch(one, host, port, compat));
      const what = `${compat} ${host}:${port} "${rule}" against ${JSON.stringify(wanted)}`;
      check(bypassed === wanted.length > 0, `answers otherwise: ${what}`);
      check(!bypassed || wanted.includes(rule), `names another rule: ${what}`);
    }
  } finally {
    bypass.close();
  }
  return `${isAllKnown} ${[...hits].sort().join(" ")}`;
}

export const bypass: Target = {
  name: "bypass",
  bytesMax: 3000,
  isText: true,
  dictionary: [
    "*",
    "?",
    ".",
    "[a-z]",
    "{a,b}",
    "\\",
    "/24",
    "/129",
    ":80",
    ":1-65535",
    "-",
    "~",
    "[::1]:80",
    "::ffff:10.0.0.1",
    "xn--",
    "é",
    "\n>a.com 80\n",
  ],
  generate(random) {
    const maker = makeMaker(random);
    const rules = Array.from({ length: 1 + random.below(6) }, () => maker.rule());
    const targets = Array.from({ length: 1 + random.below(6) }, () => maker.target());
    const lines = targets.map(({ host, port }) => `>${host} ${port}`);
    return bytesOf([...rules, ...lines].join("\n"));
  },
  async run(input) {
    const lists = read(input);
    for (const rule of lists.rules.slice(0, 1)) await fuzzRule(Buffer.from(rule, "utf8"));
    const own = await compare(lists, false);
    const gosts = await compare(lists, true);
    const kinds = new Set(lists.rules.map((rule) => rule.replace(/[^*?[{/:.~-]/g, "").slice(0, 4)));
    return `${own} ${gosts} ${[...kinds].slice(0, 3).join(" ")}`;
  },
};
