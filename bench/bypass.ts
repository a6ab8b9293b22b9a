/**
 * How long does a bypass of a million rules take to load, how much memory does it take, and how
 * long is one look-up?
 *
 *   node --expose-gc --import tsx bench/bypass.ts [RULES]
 *
 * Bounds: load 3 s, 200 MiB in all (resident memory of the process, beyond what it had before),
 * look-up 1 µs. `core` is the call into the core alone, `match` all that a service waits for.
 */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RuleBypass } from "../src/bypass/bypass.ts";
import { RuleEngine } from "../src/bypass/engine.ts";
import { readTarget } from "../src/bypass/target.ts";
import { coreModule } from "../src/core/load.ts";
import { logger } from "../src/log.ts";

const RULES = Number(process.argv[2] ?? 1_000_000);
const LOOKUPS = 400_000;
const SAMPLES = 4096;
const MIB = 1024 * 1024;

/** A generator of its own, so that each run asks the same (xorshift, 32 bits). */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const random = makeRandom(20240229);
const WORDS = "ads track cdn img api login mail shop news video data static edge cloud app".split(
  " ",
);
const ENDS = "com net org de io co.uk com.br ru cn info".split(" ");

function word(): string {
  return WORDS[random(WORDS.length)]! + random(100_000).toString(36);
}

function name(): string {
  return `${word()}.${ENDS[random(ENDS.length)]!}`;
}

function ip4(): string {
  return [1 + random(223), random(256), random(256), random(256)].join(".");
}

function ip6(): string {
  return `2${random(4096).toString(16)}:${random(65536).toString(16)}:${random(65536).toString(16)}::`;
}

const KINDS: Readonly<Record<string, () => string>> = {
  names: name,
  suffixes: () => `.${name()}`,
  wildcards: () => `*.${name()}`,
  "half wildcards": () => `${WORDS[random(WORDS.length)]!}${random(1000)}*.${name()}`,
  "names with ports": () => `${name()}:${random(2) === 0 ? "443" : "8000-8100"}`,
  "IPv4 addresses": ip4,
  "IPv4 networks": () => `${ip4()}/${12 + random(21)}`,
  "IPv4 ranges": () => {
    const head = ip4().split(".").slice(0, 3).join(".");
    return `${head}.${random(100)}-${head}.${100 + random(156)}`;
  },
  "IPv6 networks": () => `${ip6()}/${24 + random(41)}`,
};

function mixed(): string {
  const makers = Object.values(KINDS);
  return makers[random(makers.length)]!();
}

/** Half of the targets come from the rules, half from anywhere. */
function targetOf(rule: string): string {
  if (random(2) === 0) return random(3) === 0 ? ip4() : `www.${name()}`;
  const host = rule.replace(/[:/-]\d.*$|\/\d+$/, "").replace(/^[*]?\./, "a.b.");
  return host.replace("*", "x");
}

function resident(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

async function measure(kind: string, folder: string): Promise<void> {
  const path = join(folder, "rules");
  const targets = readFileSync(join(folder, "targets"), "utf8").split("\n");
  const before = resident();
  const engine = new RuleEngine(coreModule(), randomBytes(64));
  const source = { file: { path }, place: "" };
  const config = { name: kind, whitelist: false, matchers: [], network: "", source };
  const bypass = new RuleBypass(config, { engine, log: logger });
  let peak = 0;
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 2);
  const load = await timed(() => bypass.start());
  peak = Math.max(peak, process.memoryUsage.rss());
  clearInterval(watch);
  const [core, match, hits] = await lookUps(bypass, targets);
  const after = resident();
  const row = [
    kind.padEnd(17),
    `load ${load.wall.toFixed(0)} ms (CPU ${load.cpu.toFixed(0)})`.padEnd(25),
    `peak ${((peak - before) / MIB).toFixed(0)} MiB`.padEnd(13),
    `kept ${((after - before) / MIB).toFixed(0)} MiB`.padEnd(13),
    `tables ${(engine.bytesInUse / MIB).toFixed(0)} MiB`.padEnd(15),
    `core ${core.toFixed(0)} ns`.padEnd(12),
    `match ${match.toFixed(0)} ns`.padEnd(13),
    `hits ${((100 * hits) / LOOKUPS).toFixed(0)} %`,
  ];
  console.log(row.join(" "));
  bypass.close();
}

/** Milliseconds by the clock and of this process's CPU time. */
async function timed(run: () => unknown): Promise<{ wall: number; cpu: number }> {
  const cpuFrom = process.cpuUsage();
  const from = performance.now();
  await run();
  const wall = performance.now() - from;
  const cpu = process.cpuUsage(cpuFrom);
  return { wall, cpu: (cpu.user + cpu.system) / 1000 };
}

/** Nanoseconds of CPU of a look-up in the core and of a whole match; how many hit. */
async function lookUps(
  bypass: RuleBypass,
  targets: readonly string[],
): Promise<[number, number, number]> {
  let hits = 0;
  const run = async (ask: (host: string) => unknown): Promise<number> => {
    hits = 0;
    const { cpu } = await timed(() => {
      for (let i = 0; i < LOOKUPS; i++) {
        if (ask(targets[i % targets.length]!) !== undefined) hits++;
      }
    });
    return (cpu * 1e6) / LOOKUPS;
  };
  await run((host) => bypass.match("tcp", host, 443));
  const reading = await run((host) => readTarget(host, false));
  const match = await run((host) => bypass.match("tcp", host, 443));
  return [match - reading, match, hits];
}

/** Writes rules and targets of a kind into the folder. */
function generate(kind: string, folder: string): void {
  const make = { ...KINDS, mixed }[kind]!;
  const targets: string[] = [];
  const lines: string[] = [];
  for (let i = 0; i < RULES; i++) {
    const rule = make();
    lines.push(rule);
    if (i % Math.max(1, Math.floor(RULES / SAMPLES)) === 0) targets.push(targetOf(rule));
  }
  writeFileSync(join(folder, "rules"), lines.join("\n"));
  writeFileSync(join(folder, "targets"), targets.join("\n"));
}

const [only, given] = process.argv.slice(3);
if (only !== undefined && given !== undefined) {
  await measure(only, given);
} else {
  console.log(`${RULES} rules; bounds: load 3000 ms, 200 MiB, 1000 ns (look-ups: CPU time)`);
  const folder = mkdtempSync(join(tmpdir(), "tsgost-bench-"));
  for (const kind of [...Object.keys(KINDS), "mixed"]) {
    generate(kind, folder);
    // A process each: memory that one kind took, or the making of rules, would serve the next.
    const argv = [fileURLToPath(import.meta.url), String(RULES), kind, folder];
    execFileSync(process.execPath, [...process.execArgv, ...argv], { stdio: "inherit" });
  }
  rmSync(folder, { recursive: true });
}
