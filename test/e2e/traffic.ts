/**
 * What has to hold for traffic through the TUN whatever lies behind it. The suites for direct
 * dialling and for relay+wss register the same bodies.
 */
import * as assert from "uvu/assert";
import { HOSTS, PLACES, type Scene } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import type { Suite } from "../kit/suite.ts";

const UDP_SIZES = [1, 2, 511, 1200, 1372, 1393, 4096, 4097, 9000, 20_000, 60_000];
const MIB = 1024 ** 2;

function family(host: string): string {
  return host.includes(":") ? "IPv6" : "IPv4";
}

function registerStreams(test: Suite, scene: () => Scene, host: string): void {
  const over = family(host);
  test(`${over}: random data both ways at once arrives unchanged`, async () => {
    const load = { hosts: [host], port: PORT.duplex, flows: 8, maxBytes: 8 * MIB };
    assert.equal(await scene().client("duplexFlows", load), { good: 8, errors: [] });
  });

  test(`TCP-90: ${over}: a client that half-closes still gets its answer`, async () => {
    const script = { send: "x".repeat(100_000), end: true };
    const { how, text } = await scene().client("converse", host, PORT.digest, script);
    assert.is(how, "end");
    assert.is((JSON.parse(text) as { bytes: number }).bytes, 100_000);
  });

  test(`${over}: a server that speaks first is heard`, async () => {
    const script = { stopAt: 13, timeoutMs: 10_000 };
    const { how, text } = await scene().client("converse", host, PORT.greeter, script);
    assert.equal([how, text], ["enough", "220 welcome\r\n"]);
  });

  test(`${over}: a server's end arrives as an end`, async () => {
    const { how, text } = await scene().client("converse", host, PORT.short);
    assert.equal([how, text], ["end", "done\n"]);
  });

  test(`TCP-98: ${over}: a server's reset arrives as a reset`, async () => {
    const { how } = await scene().client("converse", host, PORT.reset, { send: "x" });
    assert.is(how, "ECONNRESET");
  });

  test(`FLOW-2 FLOW-4: ${over}: a closed port is refused, not accepted and closed`, async () => {
    const { outcome, ms } = await scene().client("tryConnect", host, PORT.closed, 10_000);
    assert.is(outcome, "ECONNREFUSED");
    assert.ok(ms < 5_000, `took ${ms} ms`);
  });
}

function registerDatagrams(test: Suite, scene: () => Scene, host: string): void {
  test(`${family(host)}: datagrams of every size come back whole`, async () => {
    assert.equal(await scene().client("udpSizes", host, PORT.echo, UDP_SIZES), []);
  });
}

/**
 * Registers the bodies for both families. Empty datagrams are a direct suite's own business: the
 * frames of a relay association cannot hold them.
 */
export function registerTraffic(test: Suite, scene: () => Scene): void {
  for (const host of HOSTS) {
    registerStreams(test, scene, host);
    registerDatagrams(test, scene, host);
  }

  test("ICMP-8: an unreachable host is reported as one", async () => {
    const { outcome } = await scene().client("tryConnect", PLACES.unreachable4, 80, 20_000);
    assert.is(outcome, "EHOSTUNREACH");
  });

  test("TCP-100 TCP-70: a client that resets takes the server's connection with it", async () => {
    const [host] = HOSTS;
    const before = await scene().serverCounts(PORT.silent);
    const script = { send: "x", timeoutMs: 500, reset: true };
    await scene().client("converse", host, PORT.silent, script);
    const after = await scene().whenServerHas(PORT.silent, before.open);
    assert.is(after.open, before.open);
    assert.is(after.total, before.total + 1);
  });
}
