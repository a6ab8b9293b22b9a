/** A bypass with its file: empty lists, reload, networks, several together. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { combineBypasses } from "../../src/bypass/bypass.ts";
import { createLogger } from "../../src/log.ts";
import { suite } from "../kit/suite.ts";
import { makeBypass, makeEngine } from "./kit.ts";

const test = suite("bypass/bypass");

const folder = mkdtempSync(join(tmpdir(), "tsgost-bypass-"));
test.after(() => rmSync(folder, { recursive: true }));

let files = 0;
function fileWith(text: string): string {
  const path = join(folder, `list-${files++}`);
  writeFileSync(path, text);
  return path;
}

test("rules of the configuration and of the file count together", async () => {
  const path = fileWith("# list\nb.example # comment\n\n10.0.0.0/8\r\n");
  const bypass = await makeBypass(["a.example"], { source: { file: { path } } });
  for (const host of ["a.example", "b.example", "10.9.8.7"]) {
    assert.is(bypass.match("tcp", host, 1)?.bypass, "b", host);
  }
  assert.is(bypass.match("tcp", "comment", 1), undefined);
  bypass.close();
});

test("a whitelist whose file is missing or empty bypasses everything", async () => {
  for (const path of [join(folder, "missing"), fileWith("# nothing\n")]) {
    const closed = await makeBypass([], { whitelist: true, source: { file: { path } } });
    assert.equal(closed.match("tcp", "a", 1), { bypass: "b", rule: "" });
    closed.close();
    const open = await makeBypass([], {
      whitelist: true,
      source: { file: { path } },
      compat: true,
    });
    assert.is(open.match("tcp", "a", 1), undefined);
    open.close();
  }
});

test("before its start and after its close a whitelist bypasses, a blacklist does not", async () => {
  for (const whitelist of [true, false]) {
    const bypass = await makeBypass(["a"], { whitelist });
    bypass.close();
    assert.is(bypass.match("tcp", "a", 1) !== undefined, whitelist);
  }
});

test("a reload changes all rules at once and gives the old ones' memory back", async () => {
  const path = fileWith("0.example");
  const engine = makeEngine();
  const bypass = await makeBypass([], { source: { file: { path } }, engine });
  const used = engine.bytesInUse;
  for (let round = 1; round <= 50; round++) {
    writeFileSync(path, `${round}.example\nalways.example`);
    const reloading = bypass.reload();
    assert.ok(bypass.match("tcp", `${round - 1}.example`, 1), "old rules hold while reading");
    assert.is(await reloading, true);
    assert.is(bypass.match("tcp", `${round - 1}.example`, 1), undefined);
    assert.ok(bypass.match("tcp", `${round}.example`, 1));
  }
  assert.is(engine.bytesInUse, used);
  bypass.close();
  assert.is(engine.bytesInUse, 0);
});

test("a reload that fails keeps the rules and says so with the place", async () => {
  const path = fileWith("a.example");
  const output = join(folder, "log");
  const log = createLogger({ level: "warn", format: "text", output });
  const bypass = await makeBypass([], { source: { file: { path } }, log });
  writeFileSync(path, "b.example\nc.example:http\n");
  assert.is(await bypass.reload(), false);
  assert.ok(bypass.match("tcp", "a.example", 1));
  assert.is(bypass.match("tcp", "b.example", 1), undefined);
  rmSync(path);
  assert.is(await bypass.reload(), false);
  assert.ok(bypass.match("tcp", "a.example", 1));
  const { readFileSync } = await import("node:fs");
  const text = readFileSync(output, "utf8");
  assert.match(text, `${path}:2: rule`);
  assert.match(text, "is no port and no range of ports; the previous list stays");
  bypass.close();
});

test("a reload may empty a list; as GOST it keeps the rules of before", async () => {
  for (const compat of [false, true]) {
    const path = fileWith("a.example");
    const bypass = await makeBypass([], { source: { file: { path } }, compat });
    writeFileSync(path, "\n");
    assert.is(await bypass.reload(), true);
    assert.is(bypass.match("tcp", "a.example", 1) !== undefined, compat);
    bypass.close();
  }
});

test("a closed bypass takes no rules that were still being read", async () => {
  const engine = makeEngine();
  const path = fileWith("a.example");
  const bypass = await makeBypass([], { source: { file: { path } }, engine });
  writeFileSync(path, "b.example");
  const reloading = bypass.reload();
  bypass.close();
  await reloading;
  assert.is(engine.bytesInUse, 0);
  assert.is(bypass.match("tcp", "b.example", 1), undefined);
});

test("rules for one network let the other be; without rules the network is meant", async () => {
  const udp = await makeBypass(["a"], { network: "udp" });
  assert.ok(udp.match("udp", "a", 1));
  assert.is(udp.match("tcp", "a", 1), undefined);
  const all = await makeBypass([], { network: "udp" });
  assert.ok(all.match("udp", "x", 1));
  assert.is(all.match("tcp", "x", 1), undefined);
  const lost = await makeBypass([], { network: "udp", source: { file: { path: "/none" } } });
  assert.is(lost.match("udp", "x", 1), undefined, "a blacklist that lost its file is no network");
  const white = await makeBypass([], { network: "udp", whitelist: true, compat: true });
  assert.is(white.match("udp", "x", 1), undefined);
  const odd = await makeBypass(["a"], { network: "tcp6", compat: true });
  assert.is(odd.match("tcp", "a", 1), undefined);
  const refused = await makeBypass([], { network: "tcp6" }).catch((error: Error) => error.message);
  assert.match(String(refused), "neither tcp nor udp");
  for (const bypass of [udp, all, lost, white, odd]) bypass.close();
});

test("several: any blacklist, or all whitelists", async () => {
  const [one, two] = [
    await makeBypass(["a", "b"], { whitelist: true }),
    await makeBypass(["b", "c"], { whitelist: true }),
  ];
  const black = await makeBypass(["b.b"]);
  const all = combineBypasses([one, black, two]);
  const said = ["a", "b", "c", "d", "b.b"].map((host) => all?.match("tcp", host, 1)?.rule);
  assert.equal(said, [undefined, undefined, undefined, "", "b.b"]);
  assert.is(combineBypasses([]), undefined);
  assert.is(combineBypasses([one]), one);
  for (const bypass of [one, two, black]) bypass.close();
});

test("empty rules in front leave the rules behind them as they are", async () => {
  for (const compat of [false, true]) {
    const bypass = await makeBypass(["", "", "a.com", "2001:db8::/32", ""], { compat });
    assert.is(bypass.match("tcp", "a.com", 80)?.rule, "a.com");
    assert.is(bypass.match("tcp", "2001:db8::1", 80)?.rule, "2001:db8::/32");
    assert.is(bypass.match("tcp", "b.com", 80), undefined);
    bypass.close();
    (await makeBypass([""], { compat })).close();
  }
});

test("an address with a dot behind it is the address, as a rule and as a target", async () => {
  const bypass = await makeBypass(["10.0.2.12.", "１０.1.2.3", "10.0.2.13.:80"]);
  for (const host of ["10.0.2.12", "10.0.2.12.", "10.1.2.3", "１０.1.2.3", "10.0.2.13"]) {
    assert.ok(bypass.match("tcp", host, 80), host);
  }
  assert.is(bypass.match("tcp", "10.0.2.13", 81), undefined);
  bypass.close();
});

test.run();
