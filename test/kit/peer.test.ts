/** The test peer against itself over lossy links: what judges the core has to be right first. */
import * as assert from "uvu/assert";
import { pattern, sameBytes } from "./bytes.ts";
import { Link, type LinkSetup } from "./link.ts";
import { TcpPeer, type PeerSetup } from "./peer.ts";
import { Random } from "./random.ts";
import { suite } from "./suite.ts";

const test = suite("kit/peer");

interface Outcome {
  readonly ms: number;
  readonly retransmits: number;
  readonly atServer: Uint8Array;
  readonly atClient: Uint8Array;
}

/** Sends `up` and `down` bytes over one connection and closes both ways. */
function converse(
  seed: number,
  setup: Partial<PeerSetup>,
  link: LinkSetup,
  bytes: number,
): Outcome {
  const random = new Random(seed);
  const ends = { src: "192.0.2.1", dst: "192.0.2.2", sport: 40_000, dport: 80 };
  const common = { mss: 1460, sack: true, timestamps: true, wscale: 7, keepaliveUs: 5e6, ...setup };
  const client = new TcpPeer({ ...common, ...ends });
  const back = { src: ends.dst, dst: ends.src, sport: 80, dport: 40_000, iss: 0xffff_fff0 };
  const server = new TcpPeer({ ...common, ...back });
  const [up, down] = [new Link(random, link), new Link(random, link)];
  client.write(pattern(bytes, 1));
  client.finish();
  server.write(pattern(bytes, 2));
  server.finish();
  const got = { client: [] as Uint8Array[], server: [] as Uint8Array[] };
  const deliver = (from: Link, to: TcpPeer, nowUs: number): void => {
    for (const { bytes: packet, isFlipped } of from.pop(nowUs)) {
      try {
        if (to.state === "idle") to.answer(packet, nowUs);
        else to.receive(packet, nowUs);
      } catch (error) {
        if (!isFlipped) throw error;
      }
    }
  };
  let nowUs = 1000;
  client.connect(nowUs);
  for (let step = 0; step < 100_000; step++) {
    deliver(up, server, nowUs);
    deliver(down, client, nowUs);
    client.poll(nowUs);
    server.poll(nowUs);
    got.client.push(client.read());
    got.server.push(server.read());
    for (const packet of client.take(nowUs)) up.push(packet, nowUs);
    for (const packet of server.take(nowUs)) down.push(packet, nowUs);
    if (client.isDone && server.isDone) {
      const retransmits = client.sender.retransmits + server.sender.retransmits;
      const atServer = Buffer.concat(got.server);
      const atClient = Buffer.concat(got.client);
      return { ms: Math.round(nowUs / 1000), retransmits, atServer, atClient };
    }
    const due = [client.deadline(), server.deadline(), up.deadline(), down.deadline()];
    nowUs = Math.max(nowUs, Math.min(...due));
  }
  throw new Error("the conversation does not come to an end");
}

function expectWhole({ atServer, atClient }: Outcome, bytes: number): void {
  assert.ok(sameBytes(atServer, pattern(bytes, 1)), "the server got other bytes");
  assert.ok(sameBytes(atClient, pattern(bytes, 2)), "the client got other bytes");
}

test("carries bytes both ways over a perfect link without a retransmission", () => {
  const outcome = converse(1, {}, { delayUs: 1000 }, 300_000);
  expectWhole(outcome, 300_000);
  assert.is(outcome.retransmits, 0);
  assert.ok(outcome.ms < 100, `${outcome.ms} ms`);
});

for (const sack of [true, false]) {
  test(`survives loss, reordering, duplicates and flips, SACK ${sack}`, () => {
    const link = {
      delayUs: 2000,
      jitterUs: 500,
      loss: 0.05,
      duplicate: 0.03,
      reorder: 0.05,
      flip: 0.03,
    };
    for (let seed = 1; seed <= 8; seed++) {
      expectWhole(converse(seed, { sack, timestamps: seed % 2 === 0 }, link, 100_000), 100_000);
    }
  });
}

test("repairs a few losses by fast retransmission, not by timeouts", () => {
  const outcome = converse(3, {}, { delayUs: 1000, loss: 0.01 }, 300_000);
  expectWhole(outcome, 300_000);
  assert.ok(outcome.ms < 2000, `${outcome.ms} ms`);
});

test("works without any option and with a small buffer", () => {
  const setup = { sack: false, timestamps: false, bufferBytes: 2000 };
  const outcome = converse(5, { ...setup, wscale: undefined }, { delayUs: 100 }, 20_000);
  expectWhole(outcome, 20_000);
});

test("sends super-packets behind a vnet header", () => {
  const outcome = converse(6, { vnetBytes: 10, superBytes: 60_000 }, { delayUs: 100 }, 500_000);
  expectWhole(outcome, 500_000);
});

test.run();
