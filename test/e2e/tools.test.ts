/**
 * Programs that know nothing of tsgost, through its TUN: iperf3 (TCP and UDP, both ways, ten flows
 * at once), wrk with fifty connections, curl over HTTPS, dig. A tool that is not installed is a
 * skip of its tests, by name.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { canRun, HOSTS, PLACES, PROXY, Scene, skipReason } from "../kit/netns.ts";
import { suite, type Suite } from "../kit/suite.ts";

const HTTP_PORT = 8080;
const HTTPS_PORT = 8443;
const IPERF_PORT = 5201;
const folder = mkdtempSync(join(tmpdir(), "tsgost-tools-"));

function has(tool: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0;
}

const url = (host: string, port: number, tls = false): string =>
  `http${tls ? "s" : ""}://${host.includes(":") ? `[${host}]` : host}:${port}`;

/** iperf3's report; throws what it complains about. Its server takes a while to be free again. */
async function iperf(scene: Scene, args: readonly string[]): Promise<IperfEnd> {
  const words = ["iperf3", "-J", "-t", "1", "-p", String(IPERF_PORT), ...args];
  let complaint = "";
  for (let tries = 0; tries < 20; tries++) {
    const { stdout, stderr } = await scene.world.client.run(words, { timeoutMs: 30_000 });
    const report = JSON.parse(stdout || "{}") as { error?: string; end?: IperfEnd };
    complaint = report.error ?? stderr;
    if (report.error === undefined && report.end !== undefined) return report.end;
    if (!complaint.includes("busy")) break;
    await new Promise((next) => setTimeout(next, 200));
  }
  throw new Error(`iperf3 ${args.join(" ")}: ${complaint}`);
}

interface IperfEnd {
  readonly sum?: { bytes: number; lost_percent: number };
  readonly sum_received?: { bytes: number };
}

function registerIperf(test: Suite, scene: () => Scene): void {
  for (const host of HOSTS) {
    for (const way of [[], ["-R"], ["-P", "10"], ["-P", "10", "-R"]]) {
      const name = `iperf3 ${way.join(" ")} to ${host} moves data`;
      test.skipUnless(has("iperf3"), "there is no iperf3", name, async () => {
        const end = await iperf(scene(), ["-c", host, ...way]);
        assert.ok((end.sum_received?.bytes ?? 0) > 1_000_000, JSON.stringify(end));
      });
    }
    for (const way of [[], ["-R"]]) {
      const name = `iperf3 -u ${way.join(" ")} to ${host} loses next to nothing`;
      test.skipUnless(has("iperf3"), "there is no iperf3", name, async () => {
        const end = await iperf(scene(), ["-c", host, "-u", "-b", "20M", "-l", "1200", ...way]);
        assert.ok((end.sum?.bytes ?? 0) > 1_000_000, JSON.stringify(end));
        assert.ok((end.sum?.lost_percent ?? 100) < 5, JSON.stringify(end));
      });
    }
  }
}

function registerWeb(test: Suite, scene: () => Scene): void {
  for (const host of HOSTS) {
    test.skipUnless(has("wrk"), "there is no wrk", `wrk to ${host}: no errors`, async () => {
      const words = ["wrk", "-t", "2", "-c", "50", "-d", "1", url(host, HTTP_PORT)];
      const { stdout } = await scene().world.client.run(words, { timeoutMs: 30_000 });
      assert.match(stdout, /requests in/);
      assert.not.match(stdout, /Socket errors|Non-2xx/);
      const close = [...words, "-H", "Connection: close"];
      const closed = (await scene().world.client.run(close, { timeoutMs: 30_000 })).stdout;
      assert.not.match(closed, /Socket errors|Non-2xx/);
    });
    const able = has("curl") && has("openssl");
    test.skipUnless(able, "curl or openssl is missing", `curl over TLS to ${host}`, async () => {
      const words = ["curl", "-sS", "-k", "-g", "--max-time", "20", url(host, HTTPS_PORT, true)];
      const result = await scene().world.client.run(words);
      assert.is(result.stdout, "secret page\n", result.stderr);
    });
  }
}

function registerAll(name: string, args: readonly string[]): void {
  const test = suite(`e2e/tools ${name}`);
  test.skipUnless(canRun, skipReason);
  test.timeout(120_000);
  let scene: Scene;
  test.before(async () => {
    scene = await Scene.open();
    const { internet } = scene.world;
    if (has("iperf3")) {
      for (const host of HOSTS) {
        await internet.start(["iperf3", "-s", "-B", host, "-p", String(IPERF_PORT)]);
      }
    }
    await internet.call(new URL("../kit/web.ts", import.meta.url).href, "serveWeb", {
      hosts: HOSTS,
      httpPort: HTTP_PORT,
      httpsPort: HTTPS_PORT,
      folder,
    });
    if (args.length > 0) await scene.relay();
    await scene.tungo(args);
  });
  test.after(async () => {
    await scene?.close();
  });
  registerIperf(test, () => scene);
  registerWeb(test, () => scene);
  test.skipUnless(has("dig"), "there is no dig", "dig over TCP and UDP is answered", async () => {
    for (const way of ["+notcp", "+tcp"]) {
      const words = ["dig", "+short", way, "-p", "5353", `@${PLACES.web4}`, "web.test", "A"];
      const result = await scene.world.client.run(words);
      assert.is(result.stdout, `${PLACES.web4}\n`, result.stdout + result.stderr);
    }
  });
  test.run();
}

registerAll("direct", []);
registerAll("relay+wss", PROXY);
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
