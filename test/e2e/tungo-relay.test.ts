/** `tsgost tungo -F relay+wss://…` to a tsgost server: traffic, and what goes wrong on the way. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import {
  canRun,
  HOSTS,
  logged,
  PLACES,
  PROXY,
  RELAY_URL,
  Scene,
  skipReason,
  TUNGO,
  type Tsgost,
} from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";
import { registerTraffic } from "./traffic.ts";

const test = suite("e2e/tungo-relay");
test.skipUnless(canRun, skipReason);
test.timeout(120_000);

let scene: Scene;
let relay: Tsgost;
const folder = mkdtempSync(join(tmpdir(), "tsgost-relay-"));

test.before(async () => {
  scene = await Scene.open();
  relay = await scene.relay();
  await scene.tungo(PROXY);
});
test.after(async () => {
  await scene?.close();
  rmSync(folder, { recursive: true });
});

registerTraffic(test, () => scene);

test("connections to the server leave by the outer interface, none by the TUN", async () => {
  const text = await scene.world.internet.must(
    "ss",
    "-tnH",
    "state",
    "connected",
    "sport",
    "=",
    ":443",
  );
  const peers = text.split("\n").filter((line) => line.includes(":443"));
  assert.ok(
    peers.every((line) => line.includes("10.77.2.2")),
    text,
  );
});

test("a server killed under many flows: all are reset at once, and it works again after", async () => {
  const flows = 1_000;
  const [host] = HOSTS;
  assert.is(await scene.client("holdOpen", host, PORT.echo, flows), flows);
  await relay.process.signal("SIGKILL");
  const { ends, standing, ms } = await scene.client("heldOutcome", 10_000);
  assert.is(standing, 0);
  assert.equal(ends, { ECONNRESET: flows });
  assert.ok(ms < 10_000, `took ${ms} ms`);
  const refused = await scene.client("tryConnect", host, PORT.echo, 20_000);
  assert.is(refused.outcome, "ECONNREFUSED");
  relay = await scene.relay();
  const load = { hosts: HOSTS, port: PORT.duplex, flows: 10, maxBytes: 100_000 };
  assert.equal(await scene.client("duplexFlows", load), { good: 10, errors: [] });
});

interface BadChain {
  readonly what: string;
  readonly url: string;
  /** What the log has to say. */
  readonly says: RegExp;
  readonly outcomes: readonly string[];
  readonly args?: readonly string[];
}

const at = `${PLACES.relay}:443`;
const unwilling = ["ECONNREFUSED", "EHOSTUNREACH", "ECONNRESET"];
const BAD_CHAINS: readonly BadChain[] = [
  {
    what: "a wrong password",
    url: `relay+wss://mira:wrong@${at}`,
    says: /auth|password|user/i,
    outcomes: ["ECONNREFUSED"],
  },
  {
    what: "an untrusted certificate with secure=true",
    url: `${RELAY_URL}?secure=true`,
    says: /certificate|self.signed|trust/i,
    outcomes: unwilling,
  },
  {
    what: "TLS to a plain port",
    url: `relay+wss://mira:secret@${PLACES.relay}:${PORT.garbage}`,
    says: /TLS|plain/i,
    outcomes: unwilling,
  },
  {
    what: "a plain peer that answers with rubbish",
    url: `relay+ws://mira:secret@${PLACES.relay}:${PORT.garbage}`,
    says: /./,
    outcomes: unwilling,
  },
  {
    what: "a relay peer that answers with rubbish",
    url: `relay+tcp://mira:secret@${PLACES.relay}:${PORT.garbage}`,
    says: /./,
    outcomes: unwilling,
  },
  {
    what: "a port where nobody listens",
    url: `relay+wss://mira:secret@${PLACES.relay}:444`,
    says: /refused/i,
    outcomes: unwilling,
  },
  {
    what: "a server that never answers",
    url: `relay+wss://mira:secret@${PLACES.dead4}:443`,
    says: /time/i,
    outcomes: ["EHOSTUNREACH"],
    args: ["--dial-timeout", "1s"],
  },
  {
    what: "a server that accepts and says nothing",
    url: `relay+wss://mira:secret@${PLACES.relay}:${PORT.mute}`,
    says: /time/i,
    outcomes: ["EHOSTUNREACH"],
    args: ["--dial-timeout", "1s"],
  },
];

for (const { what, url, says, outcomes, args = [] } of BAD_CHAINS) {
  test(`${what}: the connect fails, the log says why once, nothing crashes`, async () => {
    await scene.stopAll();
    relay = await scene.relay();
    const tungo = await scene.tungo(["-F", url, ...args]);
    const [host] = HOSTS;
    for (let turn = 0; turn < 3; turn++) {
      const { outcome } = await scene.client("tryConnect", host, PORT.echo, 20_000);
      assert.ok(outcomes.includes(outcome), outcome);
    }
    const complaints = logged(tungo, /"level":"(warn|error)"/).filter(
      (entry) => !/route|not verified/.test(String(entry["msg"])),
    );
    assert.is(complaints.length, 1, JSON.stringify(complaints));
    assert.match(JSON.stringify(complaints[0]), says);
    assert.is((await tungo.stop()).code, 0);
  });
}

test("relay without authentication on an outer address warns of an open proxy", async () => {
  await scene.stopAll();
  const server = await scene.relay("-L", `relay+wss://${PLACES.relay}:443`);
  const warnings = logged(server, /"level":"warn"/);
  assert.ok(
    warnings.some((entry) => /auth|open proxy/i.test(String(entry["msg"]))),
    server.process.lines.join("\n"),
  );
});

test("relay without authentication on loopback does not warn", async () => {
  await scene.stopAll();
  const server = await scene.relay("-L", "relay+wss://127.0.0.1:443");
  const warnings = logged(server, /"level":"warn"/);
  assert.equal(
    warnings.filter((entry) => !String(entry["msg"]).startsWith("cannot store")),
    [],
  );
});

test("users and passwords can come from the environment and from a file", async () => {
  await scene.stopAll();
  const { gateway, internet } = scene.world;
  const file = join(folder, "auth");
  writeFileSync(file, "# who may\nmira secret\n", { mode: 0o600 });
  relay = await scene.start(internet, ["-L", `relay+wss://${PLACES.relay}:443?authFile=${file}`]);
  const env = { TSGOST_AUTH_E2E: "mira:secret" };
  const args = ["-F", `relay+wss://${PLACES.relay}:443?authEnv=e2e`];
  await scene.start(gateway, [...TUNGO, ...args], { env });
  const load = { hosts: HOSTS, port: PORT.duplex, flows: 4, maxBytes: 100_000 };
  assert.equal(await scene.client("duplexFlows", load), { good: 4, errors: [] });
});

test("GOST's form of the command carries traffic, too", async () => {
  await scene.stopAll();
  relay = await scene.relay("-L", "relay+wss://:443");
  const url = "tungo://:0?name=tungo&net=192.168.123.1/24&mtu=1420&route=0.0.0.0/1,128.0.0.0/1";
  const chain = `relay+wss://${PLACES.relay}:443?interface=wan0`;
  await scene.start(scene.world.gateway, ["-L", url, "-F", chain]);
  const load = { hosts: [PLACES.web4], port: PORT.duplex, flows: 10, maxBytes: 100_000 };
  assert.equal(await scene.client("duplexFlows", load), { good: 10, errors: [] });
});

test.run();
