/** GOST's wire vectors against our relay server: what it says must be GOST's, deviations aside. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import * as assert from "uvu/assert";
import { listen } from "../../src/serve/listen.ts";
import { ServiceRouter } from "../../src/chain/router.ts";
import { RelayHandler } from "../../src/serve/relay.ts";
import { type Ports, type Replay, turnsOf, vectorsOf, wsText } from "../chain/vectors.ts";
import {
  type ServiceParts,
  Target,
  authenticatorFor,
  bypassOf,
  echoTarget,
  emptyConfig,
  pauseMs,
  portOf,
  quiet,
  serviceOf,
} from "../chain/world.ts";
import { suite } from "../kit/suite.ts";
import { Player, playPlain } from "./player.ts";

const test = suite("serve/vectors");
test.timeout(60_000);

const QUIET_MS = 80;

const echo = echoTarget();
const echo6 = echoTarget();
const banner = new Target((socket) => socket.write("220 hi\r\n"));
const udp = createSocket("udp4");
let ports: Ports = {};

test.before(async () => {
  udp.on("message", (data, source) => udp.send(data, source.port, source.address));
  udp.bind(0, "127.0.0.1");
  await once(udp, "listening");
  const free = createSocket("udp4").bind(0, "127.0.0.1");
  await once(free, "listening");
  ports = {
    echo: await echo.listen(),
    echo6: await echo6.listen("::1"),
    banner: await banner.listen(),
    udp: udp.address().port,
    free: free.address().port,
  };
  free.close();
});

test.after(() => {
  for (const target of [echo, echo6, banner]) target.close();
  udp.close();
});

/** Our service for a captured command line; the ports of targets are ours. */
function partsOf(command: string): { parts: ServiceParts; bypass: string[] } {
  const match =
    /^-L relay(?:\+(ws))?:\/\/(?:([^:@]*):?([^@]*)@)?:\d+(?:\/([^?]*))?(?:\?(.*))?$/.exec(command);
  if (match === null) throw new Error(command);
  const [, listener = "tcp", username, password = "", forward = "", query = ""] = match;
  const options = new Map(query.split("&").map((part) => part.split("=") as [string, string]));
  const names: Record<string, string> = { "9001": "echo", "9002": "banner" };
  const target = forward.replace(/\d+$/, (port) => String(ports[names[port] ?? ""] ?? port));
  const metadata = Object.fromEntries(
    [...options].filter(([key]) => /^(nodelay|bind|readTimeout)$/.test(key)),
  );
  const path = options.get("path");
  const parts: ServiceParts = {
    listener,
    metadata,
    listenerMetadata: path === undefined ? {} : { path },
    ...(username === undefined ? {} : { auth: { username, password } }),
    ...(target === "" ? {} : { forward: [target] }),
  };
  return { parts, bypass: (options.get("bypass") ?? "").split(",").filter((rule) => rule !== "") };
}

/** As little of a bypass as the vectors need: an address, a suffix, an address with a port. */
function refuser(
  rules: readonly string[],
): (network: string, host: string, port: number) => boolean {
  return (_network, host, port) =>
    rules.some((rule) => {
      if (rule.startsWith(".")) return host.endsWith(rule);
      return rule === host || rule.replace("9003", String(ports["udp"])) === `${host}:${port}`;
    });
}

/** A service that does not know that it is on loopback: open rules must not soften it. */
async function serve(vector: Replay): Promise<{ port: number; close(): Promise<void> }> {
  const { parts, bypass } = partsOf(vector.peer[0] ?? "");
  const service = serviceOf(parts);
  const handler = new RelayHandler(service, {
    log: quiet,
    isLoopback: false,
    authenticator: authenticatorFor(service),
    router: new ServiceRouter({
      log: quiet,
      dialTimeoutMs: 15_000,
      local: {},
      bypass: bypassOf(refuser(bypass)),
    }),
  });
  const listener = await listen(service, emptyConfig, {
    log: quiet,
    accept: (accepted) => handler.handle(accepted),
  });
  return {
    port: portOf(listener.address),
    close: async () => {
      await listener.close();
      handler.close();
    },
  };
}

async function replay(vector: Replay): Promise<void> {
  const server = await serve(vector);
  const player = await Player.open(server.port);
  try {
    const isWs = vector.peer[0]?.includes("+ws") === true;
    if (isWs) await playWs(vector, player);
    else await playPlain(turnsOf(vector, ports), player);
    if (vector.end === "open") {
      await pauseMs(QUIET_MS);
      assert.is(player.isOver, false, "the connection must stay open");
    } else {
      await player.over();
      assert.is(player.isOver, true, "the connection must end");
    }
    assert.is(player.rest, "", "nothing more may come");
  } finally {
    player.close();
    await server.close();
  }
}

/** Over WebSocket only the upgrade's bytes, the payload and the control frames count. */
async function playWs(vector: Replay, player: Player): Promise<void> {
  let isUpgraded = false;
  for (const turn of turnsOf(vector, ports)) {
    if (turn.from === "client") {
      player.write(turn.hex);
      continue;
    }
    const wanted = Buffer.from(turn.hex, "hex");
    if (!isUpgraded) {
      const text = wanted.toString("latin1");
      const got = await player.takeWhen((bytes) => withoutDate(bytes).length >= text.length);
      assert.is(withoutDate(got), text);
      isUpgraded = true;
      continue;
    }
    // Coalesced messages have fewer headers: what they say counts.
    const all = wsText(wanted, false);
    const got = await player.takeWhen((bytes) => {
      const { data, controls } = wsText(bytes, false);
      return data.length >= all.data.length && controls.length >= all.controls.length;
    });
    assert.equal(wsText(got, false), all);
  }
}

function withoutDate(bytes: Buffer): string {
  return bytes.toString("latin1").replace(/Date: [^\r]*GMT/, "Date: ?");
}

for (const file of ["relay", "websocket"]) {
  for (const vector of vectorsOf(file)) {
    if (vector.name.startsWith("client-")) continue;
    if (vector.deviation !== undefined && vector.deviation.steps === undefined) continue;
    const note =
      vector.deviation === undefined ? "" : ` (deviates: ${vector.deviation.divergence})`;
    test(`${file}/${vector.name}: ${vector.about}${note}`, () => replay(vector));
  }
}

test.run();
