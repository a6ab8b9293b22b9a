/** GOST's wire vectors of the handler http: what ours says must be the same, deviations aside. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import * as assert from "uvu/assert";
import { type Ports, type Replay, turnsOf, vectorsOf } from "../chain/vectors.ts";
import { type StartParts, echoTarget, pauseMs, portOf, startRelay } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";
import { Player, playPlain } from "./player.ts";

const test = suite("serve/http-vectors");

const QUIET_MS = 80;
const echo = echoTarget();
const udp = createSocket("udp4");
let ports: Ports = {};

test.before(async () => {
  udp.on("message", (data, source) => udp.send(data, source.port, source.address));
  udp.bind(0, "127.0.0.1");
  await once(udp, "listening");
  ports = { echo: await echo.listen(), udp: udp.address().port };
});
test.after(() => {
  echo.close();
  udp.close();
});

/** Our service for a captured command line. */
function partsOf(command: string): StartParts {
  const match = /^-L http:\/\/(?:([^:@]*):([^@]*)@)?:\d+(?:\?(.*))?$/.exec(command);
  if (match === null) throw new Error(command);
  const [, username, password = "", query = ""] = match;
  const isBypassed = query.startsWith("bypass=");
  const refuses = (_network: string, host: string, port: number): boolean =>
    host.endsWith(".bad.example") || port === ports["echo"];
  return {
    handler: "http",
    metadata: query === "udp=true" ? { udp: true } : {},
    ...(username === undefined ? {} : { auth: { username, password } }),
    ...(isBypassed ? { refuses } : {}),
  };
}

async function replay(vector: Replay): Promise<void> {
  const server = await startRelay(partsOf(vector.peer[0] ?? ""));
  const player = await Player.open(portOf(server.address));
  try {
    await playPlain(turnsOf(vector, ports), player);
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

for (const vector of vectorsOf("http-connect")) {
  // `auto` is a handler of its own, which chooses between this one and others.
  if (vector.name.startsWith("client-") || vector.name === "auto-http") continue;
  const note = vector.deviation === undefined ? "" : ` (deviates: ${vector.deviation.divergence})`;
  test(`http-connect/${vector.name}: ${vector.about}${note}`, () => replay(vector));
}

test.run();
