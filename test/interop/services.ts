/**
 * What the matrix leaves out: forwarding servers and connectors, BIND (GOST's rtcp and rudp),
 * schemes that name a transport alone, auto, certificates both ways, paths of WebSocket.
 */
import * as assert from "uvu/assert";
import { CertFiles } from "../chain/world.ts";
import { type Engine, type Running, during, gostEngine, tsgostEngine } from "./engine.ts";
import { type Doors, doorArgs, openDoors } from "./doors.ts";
import { Datagrams, Flow, echoBytes, socksConnect, socksReply } from "./entry.ts";
import { type Gost, freePort } from "./peer.ts";
import type { Spot, Table } from "./table.ts";
import { type Targets, openTargets } from "./targets.ts";

const TRANSPORTS = [
  ...["tcp", "tls", "ws", "wss"].map((dialer) => ({ dialer, smux: 0 })),
  ...["mtls", "mws", "mwss"].map((dialer) => ({ dialer, smux: 1 })),
];
const ENCRYPTED = new Set(["tls", "wss", "mtls", "mwss"]);
const BYTES = 200_000;
const SIZES = [1, 511, 1372, 4000];
/** Where nothing is: a target that the far side must not be asked for. */
const NOWHERE = "192.0.2.1:9";
/** In the certificates that tsgost makes. */
const CERT_NAME = "gost.run";
const NO_RTCP = "tsgost has no rtcp and rudp services";

interface Stage {
  readonly table: Table;
  readonly targets: Targets;
  readonly files: CertFiles;
  readonly from: Engine;
  readonly to: Engine;
}

type Transport = (typeof TRANSPORTS)[number];

export async function checkServices(gost: Gost, table: Table): Promise<void> {
  const files = new CertFiles();
  const targets = await openTargets();
  const ours = tsgostEngine(files);
  const theirs = gostEngine(gost);
  try {
    for (const [from, to] of [
      [ours, theirs],
      [theirs, ours],
    ] as const) {
      const stage = { table, targets, files, from, to };
      for (const transport of TRANSPORTS) {
        await forwarding(stage, transport);
        await binding(stage, transport);
        if (transport.dialer !== "tcp") await alone(stage, transport);
        if (ENCRYPTED.has(transport.dialer)) await certificates(stage, transport);
        if (transport.dialer.includes("ws")) await paths(stage, transport);
      }
      await byDatagrams(stage);
      await auto(stage);
      await direct(stage);
    }
  } finally {
    targets.close();
    files.remove();
  }
}

function spotOf({ from, to }: Stage, { dialer, smux }: Transport, options: string): Spot {
  const transport = smux === 0 ? dialer : `${dialer}/${smux}`;
  return { pair: `${from.name} -> ${to.name}`, transport, options };
}

/** Server and client run while `body` does; a start that fails is a failed check. */
async function between(
  { table }: Stage,
  spot: Spot,
  starts: readonly (() => Promise<Running>)[],
  body: () => Promise<void>,
): Promise<void> {
  try {
    await during(starts, body);
  } catch (error) {
    await table.check(spot, "both start", () => Promise.reject(error as Error));
  }
}

const echoAt = (port: number) => async (): Promise<undefined> => {
  await echoBytes(await Flow.open(port), BYTES);
};

/** The server knows the target: relay in forward mode, and no protocol at all. */
async function forwarding(stage: Stage, transport: Transport): Promise<void> {
  const { from, to, table, targets } = stage;
  const { dialer } = transport;
  const schemes = [
    ["relay", "relay", "relay, forward mode"],
    ["tcp", "forward", "connector forward, handler tcp"],
    ["forward", "tcp", "connector tcp, handler forward"],
  ] as const;
  for (const [handler, connector, options] of schemes) {
    const port = await freePort();
    const door = await freePort();
    const target = `127.0.0.1:${targets.echo}`;
    const server = `${handler}+${dialer}://127.0.0.1:${port}/${target}?nodelay=true&${to.certQuery}`;
    const node = `${connector}+${dialer}://127.0.0.1:${port}?nodelay=true`;
    const client = ["-L", `tcp://127.0.0.1:${door}/${NOWHERE}`, "-F", node];
    const spot = spotOf(stage, transport, options);
    const starts = [() => to.start(["-L", server], port), () => from.start(client, door)];
    await between(stage, spot, starts, async () => {
      await table.check(spot, "TCP echo, 200 kB each way", echoAt(door));
    });
  }
  await forwardedDatagrams(stage, transport);
}

async function forwardedDatagrams(stage: Stage, transport: Transport): Promise<void> {
  const { from, to, table, targets } = stage;
  const port = await freePort();
  const door = await freePort();
  const target = `127.0.0.1:${targets.udp}`;
  const at = `relay+${transport.dialer}://127.0.0.1:${port}`;
  const server = ["-L", `${at}/${target}?nodelay=true&${to.certQuery}`];
  const listen = `udp://127.0.0.1:${door}/${NOWHERE}?keepalive=true`;
  const client = ["-L", listen, "-F", `${at}?nodelay=true`];
  const spot = spotOf(stage, transport, "relay, forward mode");
  const starts = [() => to.start(server, port), () => from.start(client, 0)];
  await between(stage, spot, starts, async () => {
    await table.check(spot, "UDP", () => Datagrams.forwarded(door).echoAll(SIZES));
  });
}

/** gost opens ports at our server, for TCP and for UDP. */
async function binding(stage: Stage, transport: Transport): Promise<void> {
  const { from, to, table, targets } = stage;
  for (const connector of ["relay", "socks5"]) {
    const spot = spotOf(stage, transport, `${connector}, BIND`);
    if (from.name !== "gost") {
      table.notApplicable(spot, "TCP (rtcp)", NO_RTCP);
      table.notApplicable(spot, "UDP (rudp)", NO_RTCP);
      continue;
    }
    const port = await freePort();
    const at = `${connector}+${transport.dialer}://user:secret@127.0.0.1:${port}`;
    const server = ["-L", `${at}?bind=true&udp=true&${to.certQuery}`];
    const [tcp, udp] = [await freePort(), await freePort()];
    const client = [
      ...["-L", `rtcp://127.0.0.1:${tcp}/127.0.0.1:${targets.echo}`],
      ...["-L", `rudp://127.0.0.1:${udp}/127.0.0.1:${targets.udp}`],
      ...["-F", `${at}?notls=true`],
    ];
    const starts = [() => to.start(server, port), () => from.start(client, tcp)];
    await between(stage, spot, starts, async () => {
      await table.check(spot, "TCP (rtcp)", async () => {
        await Promise.all([echoAt(tcp)(), echoAt(tcp)(), echoAt(tcp)()]);
        return undefined;
      });
      await table.check(spot, "UDP (rudp)", () => Datagrams.forwarded(udp).echoAll(SIZES));
    });
  }
}

/** `-L wss://`, `-F wss://`: the handler is auto, the connector http. */
async function alone(stage: Stage, transport: Transport): Promise<void> {
  const { from, to, table, targets } = stage;
  const port = await freePort();
  const doors = await openDoors();
  const at = `${transport.dialer}://user:secret@127.0.0.1:${port}`;
  const spot = spotOf(stage, transport, "the transport's name alone");
  const starts = [
    () => to.start(["-L", `${at}?${to.certQuery}`], port),
    () => from.start([...doorArgs(doors, targets), "-F", at], doors.socks),
  ];
  await between(stage, spot, starts, async () => {
    await table.check(spot, "TCP echo, 200 kB each way", echoAt(doors.tcp));
  });
}

/** The reply of an application's CONNECT to a near program with this node; 0 = it works. */
async function replyBy(stage: Stage, node: string): Promise<number> {
  const doors: Doors = await openDoors();
  const near = await stage.from.start([...doorArgs(doors, stage.targets), "-F", node], doors.socks);
  try {
    const reply = await socksReply(doors.socks, stage.targets.echo);
    if (reply === 0) await echoBytes(await socksConnect(doors.socks, stage.targets.echo), 1000);
    return reply;
  } finally {
    await near.stop();
  }
}

async function expectReplies(
  stage: Stage,
  spot: Spot,
  nodes: Readonly<Record<string, readonly [string, "works" | "fails"]>>,
): Promise<void> {
  for (const [check, [node, wanted]] of Object.entries(nodes)) {
    await stage.table.check(spot, check, async () => {
      assert.is((await replyBy(stage, node)) === 0 ? "works" : "fails", wanted);
      return undefined;
    });
  }
}

/** Verified servers and verified clients. */
async function certificates(stage: Stage, transport: Transport): Promise<void> {
  const { files, to } = stage;
  const foreign = new CertFiles();
  const port = await freePort();
  const at = `relay+${transport.dialer}://127.0.0.1:${port}?nodelay=true`;
  const own = `certFile=${files.certFile}&keyFile=${files.keyFile}`;
  const spot = spotOf(stage, transport, "relay, certificates");
  const named = `secure=true&caFile=${files.certFile}&serverName=${CERT_NAME}`;
  const server = ["-L", `${at}&${own}&caFile=${files.certFile}`];
  await between(stage, spot, [() => to.start(server, port)], async () => {
    await expectReplies(stage, spot, {
      "server and client verified": [`${at}&${named}&${own}`, "works"],
      "a server of another CA is refused": [
        `${at}&${own}&secure=true&caFile=${foreign.certFile}&serverName=${CERT_NAME}`,
        "fails",
      ],
      "a server of another name is refused": [
        `${at}&${own}&secure=true&caFile=${files.certFile}&serverName=other.example`,
        "fails",
      ],
      "a client without certificate is refused": [`${at}&${named}`, "fails"],
    });
  });
  foreign.remove();
}

async function paths(stage: Stage, transport: Transport): Promise<void> {
  const { to } = stage;
  const port = await freePort();
  const at = `relay+${transport.dialer}://127.0.0.1:${port}?nodelay=true`;
  const spot = spotOf(stage, transport, "relay, path and host");
  const server = ["-L", `${at}&path=/deep/way&${to.certQuery}`];
  await between(stage, spot, [() => to.start(server, port)], async () => {
    await expectReplies(stage, spot, {
      "the right path, a host, pings": [
        `${at}&path=/deep/way&host=front.example&keepalive=true&ttl=1s`,
        "works",
      ],
      "another path is refused": [at, "fails"],
    });
  });
}

/** udp under forward: datagrams all the way. */
async function byDatagrams(stage: Stage): Promise<void> {
  const { from, to, table, targets } = stage;
  const [port, door] = [await freePort(), await freePort()];
  const server = ["-L", `udp://127.0.0.1:${port}/127.0.0.1:${targets.udp}?keepalive=true`];
  const listen = `udp://127.0.0.1:${door}/${NOWHERE}?keepalive=true`;
  const client = ["-L", listen, "-F", `forward+udp://127.0.0.1:${port}`];
  const spot = spotOf(stage, { dialer: "udp", smux: 0 }, "connector forward, handler udp");
  const starts = [() => to.start(server, 0), () => from.start(client, 0)];
  await between(stage, spot, starts, async () => {
    await table.check(spot, "UDP", () => Datagrams.forwarded(door).echoAll(SIZES));
  });
  const others =
    "our choice: relay, socks5 and http want a stream, so tsgost refuses them over udp (gost starts)";
  for (const connector of ["relay", "socks5", "http"]) {
    table.notApplicable({ ...spot, options: `connector ${connector}` }, "UDP", others);
  }
}

/** One server that tells the protocols apart. */
async function auto(stage: Stage): Promise<void> {
  const { from, to, table, targets } = stage;
  const port = await freePort();
  const at = `user:secret@127.0.0.1:${port}`;
  const spot = spotOf(stage, { dialer: "tcp", smux: 0 }, "handler auto");
  await between(stage, spot, [() => to.start(["-L", `auto://${at}?udp=true`], port)], async () => {
    for (const connector of ["socks5", "http"]) {
      const doors = await openDoors();
      const client = [...doorArgs(doors, targets), "-F", `${connector}://${at}`];
      await between(stage, spot, [() => from.start(client, doors.socks)], async () => {
        await table.check(spot, `${connector}: TCP`, echoAt(doors.tcp));
        const sizes = SIZES.slice(0, 3);
        const udp = (): Promise<undefined> => Datagrams.forwarded(doors.udp).echoAll(sizes);
        await table.check(spot, `${connector}: UDP`, udp);
      });
    }
  });
}

/** No peer: dials itself. */
async function direct(stage: Stage): Promise<void> {
  const { from, table, targets } = stage;
  const doors = await openDoors();
  const client = [...doorArgs(doors, targets), "-F", "direct://"];
  const spot = { pair: from.name, transport: "tcp", options: "connector direct" };
  await between(stage, spot, [() => from.start(client, doors.socks)], async () => {
    await table.check(spot, "TCP echo, 200 kB each way", echoAt(doors.tcp));
    const udp = (): Promise<undefined> => Datagrams.forwarded(doors.udp).echoAll(SIZES);
    await table.check(spot, "UDP", udp);
    await table.check(spot, "a refused target is refused", async () => {
      assert.is.not(await socksReply(doors.socks, targets.closed), 0);
      return undefined;
    });
  });
}
