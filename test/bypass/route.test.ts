/** `tsgost route` as a process: lines, JSON, and what it refuses. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { splitAddress, splitRules } from "../../src/commands/route.ts";
import { suite } from "../kit/suite.ts";

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const test = suite("bypass/route");
test.timeout(60_000);

function route(...args: readonly string[]): { code: number | null; out: string; err: string } {
  const argv = ["--import", "tsx", CLI, "route", ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, {
    cwd: ROOT,
    encoding: "utf8",
    timeout: 30_000,
  });
  return { code: status, out: stdout, err: stderr };
}

test("--json gives one object a line, in the order of the addresses", () => {
  const rules = "10.0.0.0/8,.example.com:443,{www,a.b}.example.or?";
  const { code, out } = route(
    ...["--json", "--bypass", rules],
    ...["www.example.com:443", "www.example.com:80", "[::ffff:10.1.2.3]:22", "a.b.example.org"],
  );
  assert.is(code, 0);
  assert.equal(
    out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
    [
      { address: "www.example.com:443", bypassed: true, rule: ".example.com:443" },
      { address: "www.example.com:80", bypassed: false, rule: "" },
      { address: "[::ffff:10.1.2.3]:22", bypassed: true, rule: "10.0.0.0/8" },
      { address: "a.b.example.org", bypassed: true, rule: "{www,a.b}.example.or?" },
    ],
  );
});

test("says it in words, and a whitelist names the rule that lets a target be", () => {
  const { out } = route("--bypass", "~*.example.org", "a.example.org:1", "example.org:1");
  assert.match(out, "a.example.org:1: not bypassed (rule *.example.org)\n");
  assert.match(out, "example.org:1: bypassed (no rule matches)\n");
});

test("an empty whitelist bypasses everything, as GOST nothing", () => {
  assert.match(route("--bypass", "~", "a").out, "a: bypassed");
  assert.match(route("--compat", "--bypass", "~", "a").out, "a: not bypassed");
});

test("several lists act together", () => {
  const lists = ["--bypass", "~.a,.b", "--bypass", "~.b,.c", "--bypass", "x.b"];
  const { out } = route(...lists, "--json", "z.a", "z.b", "x.b", "z.d");
  const said = [...out.matchAll(/"bypassed":(\w+)/g)].map(([, word]) => word);
  assert.equal(said, ["false", "false", "true", "true"]);
});

test("rules and addresses that make no sense end with 2 and say why", () => {
  for (const [args, why] of [
    [["--bypass", "a:x", "b"], /--bypass: rule "a:x" "x" is no port/],
    [["--bypass", "10.0.0.0/33", "b"], /is no network/],
    [["--bypass", "a", "b:99999"], /is not HOST/],
    [["--bypass", "a", "--network", "ip", "b"], /neither tcp nor udp/],
    [["--bypass", "a"], /usage/],
  ] as const) {
    const { code, err } = route(...args);
    assert.is(code, 2, args.join(" "));
    assert.match(err, why);
  }
});

test("tells which way each service would take, and because of which rule", () => {
  const server = "relay+tls://192.0.2.1:443?interface=lo&bypass=10.0.0.0/8,.direct.example";
  const service = "socks5://127.0.0.1:0?interface=lo&bypass=.bad.example";
  const { code, out } = route(
    ...["--no-lookup", "--json", "-L", service, "-F", server],
    ...["a.example", "x.direct.example:80", "10.1.2.3", "bad.example:443"],
  );
  assert.is(code, 0);
  const answers = out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const [chained, direct, address, refused] = answers;
  assert.is(chained?.["outcome"], "chain");
  assert.is(chained?.["destination"], "a.example:443");
  assert.match(JSON.stringify(chained?.["hops"]), /relay\+tls 192\.0\.2\.1:443 interface lo/);
  assert.is(direct?.["outcome"], "direct");
  assert.equal(direct?.["hit"], { bypass: "bypass-0", rule: ".direct.example", level: "hop" });
  assert.is(address?.["outcome"], "direct");
  assert.equal((address?.["hit"] as { rule: string }).rule, "10.0.0.0/8");
  assert.is(refused?.["outcome"], "refused");
  assert.equal((refused?.["hit"] as { level: string }).level, "service");
});

test("says what would happen if only the address of a name were known", () => {
  const { out } = route("-F", "relay+tls://192.0.2.1:443?bypass=localhost", "localhost:80");
  assert.match(
    out,
    /^localhost:80\/tcp by service-0: direct \(hop's bypass bypass-0: rule localhost\)\n/,
  );
  assert.match(out, /\n {2}if only (127\.0\.0\.1|\[::1\]):80 is known: through chain-0\n/);
  assert.match(out, /\n {4}hop-0\/node-0: relay\+tls 192\.0\.2\.1:443\n/);
});

test("rules are split at commas outside of braces, addresses at their port", () => {
  assert.equal(splitRules("a,{b,c}d,,e"), ["a", "{b,c}d", "e"]);
  assert.equal(splitRules("{a,b"), ["{a", "b"]);
  assert.equal(splitRules(",".repeat(100_000)), []);
  assert.equal(splitAddress("[2001:db8::1]:80"), { host: "2001:db8::1", port: 80 });
  assert.equal(splitAddress("2001:db8::1"), { host: "2001:db8::1", port: 0 });
  assert.equal(splitAddress("a.b"), { host: "a.b", port: 0 });
});

test.run();
