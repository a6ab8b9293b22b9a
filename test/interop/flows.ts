/** What a client behind a TUN does, whichever engine and server are there: bodies of part B. */
import * as assert from "uvu/assert";
import { HOSTS, PLACES, type Scene } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";

const MIB = 1024 ** 2;
const QUICK_MS = 5000;
/** How long test/kit/clients.ts waits before it sends a datagram again. */
const RESEND_MS = 2000;

type Body = () => Promise<string | undefined>;

/** Names of the destinations' families, to go with HOSTS. */
export const FAMILIES = HOSTS.map((host) => ({
  host,
  family: host.includes(":") ? "IPv6" : "IPv4",
}));

/** Flows at once, each with data in both directions, with sha256. No host: those of HOSTS. */
export function duplex(scene: Scene, host: string, flows: number, maxBytes: number): Body {
  return async () => {
    const from = performance.now();
    const load = { hosts: host === "" ? HOSTS : [host], port: PORT.duplex, flows, maxBytes };
    assert.equal(await scene.client("duplexFlows", load), { good: flows, errors: [] });
    return `${Math.round(performance.now() - from)} ms`;
  };
}

export const big = (scene: Scene): Body => duplex(scene, PLACES.web4, 1, 16 * MIB);
export const several = (scene: Scene): Body => duplex(scene, "", 30, MIB / 2);

export function greeter(scene: Scene, host: string): Body {
  return async () => {
    const script = { stopAt: 13, timeoutMs: 10_000 };
    const { how, text, ms } = await scene.client("converse", host, PORT.greeter, script);
    assert.equal([how, text], ["enough", "220 welcome\r\n"]);
    return `${Math.round(ms)} ms`;
  };
}

/** Sends 100,000 bytes and the end, then reads what the server made of it. */
export function halfClose(scene: Scene, host: string): Body {
  return async () => {
    const script = { send: "x".repeat(100_000), end: true, timeoutMs: 12_000 };
    const { how, text } = await scene.client("converse", host, PORT.digest, script);
    assert.equal([how, text === ""], ["end", false]);
    assert.is((JSON.parse(text) as { bytes: number }).bytes, 100_000);
    return undefined;
  };
}

/** The server answers without reading and ends; the client keeps its side open until then. */
export function serverEnds(scene: Scene, host: string): Body {
  return async () => {
    const script = { send: "x", timeoutMs: 12_000 };
    const { how, text } = await scene.client("converse", host, PORT.short, script);
    assert.equal([how, text], ["end", "done\n"]);
    return undefined;
  };
}

export function serverResets(scene: Scene, host: string): Body {
  return async () => {
    const { how } = await scene.client("converse", host, PORT.reset, { send: "x" });
    assert.is(how, "ECONNRESET");
    return undefined;
  };
}

/** The connect itself fails with ECONNREFUSED. */
export function refused(scene: Scene, host: string): Body {
  return async () => {
    const { outcome, ms } = await scene.client("tryConnect", host, PORT.closed, 10_000);
    assert.is(outcome, "ECONNREFUSED");
    assert.ok(ms < QUICK_MS, `took ${ms} ms`);
    return `${Math.round(ms)} ms`;
  };
}

/** The connect fails by itself, before the client loses patience. */
export function connectFails(scene: Scene, port: number): Body {
  return async () => {
    const { outcome, ms } = await scene.client("tryConnect", PLACES.web4, port, 50_000);
    assert.match(outcome, /^(ETIMEDOUT|EHOSTUNREACH|ECONNREFUSED)$/);
    return `${outcome} after ${Math.round(ms)} ms`;
  };
}

/** A flow that leads nowhere ends soon and carries nothing. */
export function endsAtOnce(scene: Scene, port: number): Body {
  return async () => {
    const script = { send: "x", timeoutMs: QUICK_MS };
    const { how, text, ms } = await scene.client("converse", PLACES.web4, port, script);
    assert.is(text, "");
    assert.is.not(how, "timeout");
    return `${how} after ${Math.round(ms)} ms`;
  };
}

/** The server has nothing to say and ends when the client does. */
export function silentEnd(scene: Scene): Body {
  return async () => {
    const script = { send: "x", end: true, timeoutMs: 12_000 };
    const { how, text } = await scene.client("converse", PLACES.web4, PORT.sink, script);
    assert.equal([how, text], ["end", ""]);
    return undefined;
  };
}

/** After a client's reset the server's connection is over. */
export function clientResets(scene: Scene): Body {
  return async () => {
    const before = await scene.serverCounts(PORT.echo);
    const script = { send: "x", resetAfterMs: 800 };
    const { how } = await scene.client("converse", PLACES.web4, PORT.echo, script);
    assert.is(how, "reset");
    const { open, total } = await scene.whenServerHas(PORT.echo, before.open);
    assert.equal([open, total], [before.open, before.total + 1]);
    return undefined;
  };
}

/** Datagrams of these sizes come back whole, each at the first try. */
export function datagrams(scene: Scene, host: string, sizes: readonly number[]): Body {
  return async () => {
    const from = performance.now();
    assert.equal(await scene.client("udpSizes", host, PORT.echo, sizes), []);
    const ms = performance.now() - from;
    assert.ok(ms < RESEND_MS, `something had to be sent again: ${ms} ms`);
    return `up to ${Math.max(...sizes)} bytes`;
  };
}

/** An empty datagram may get lost, those behind it must not. */
export function afterEmpty(scene: Scene): Body {
  return async () => {
    const sizes = [10, 0, 20, 1200];
    const missing = await scene.client("udpSizes", PLACES.web4, PORT.echo, sizes);
    assert.equal(
      missing.filter((size) => size !== 0),
      [],
    );
    return missing.length === 0 ? "the empty one came back, too" : "the empty one did not";
  };
}

/** A client's socket, used before and after something happens. */
export function keptDatagrams(scene: Scene): Body {
  return async () => {
    const ms = await scene.client("udpKept", PLACES.web4, PORT.echo, QUICK_MS);
    assert.ok(ms >= 0, "no echo");
    return `${Math.round(ms)} ms`;
  };
}
