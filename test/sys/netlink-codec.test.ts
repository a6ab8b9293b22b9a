/** Netlink messages byte by byte. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import * as codec from "../../src/sys/netlink-codec.ts";
import { ip4, ip6 } from "./help.ts";

const test = suite("sys/netlink-codec");

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replace(/\s/g, ""), "hex"));
}

/** Expected bytes are written out by hand from rtnetlink(7), in little endian. */
test("get link: name as an attribute, padded", () => {
  assert.is(
    hex(codec.getLink(7, "tun0")),
    "2c0000001200050007000000000000000000000000000000000000000000000009000300" + "74756e3000000000",
  );
});

test("set link up: only the flag changes", () => {
  assert.is(
    hex(codec.setLink(1, 5, { up: true })),
    "20000000100005000100000000000000" + "00000000050000000100000001000000",
  );
});

test("set link down: mask without the flag", () => {
  assert.is(
    hex(codec.setLink(1, 5, { up: false })),
    "20000000100005000100000000000000" + "00000000050000000000000001000000",
  );
});

test("set mtu and queue: two attributes, no flags", () => {
  assert.is(
    hex(codec.setLink(2, 5, { mtu: 1420, txQueueLen: 1000 })),
    "30000000100005000200000000000000" +
      "00000000050000000000000000000000" +
      "080004008c050000" +
      "08000d00e8030000",
  );
});

test("add an IPv4 address: local and address", () => {
  const address = { family: 4, bytes: ip4("192.168.123.1"), prefix: 24 } as const;
  assert.is(
    hex(codec.changeAddress(3, "add", 5, address)),
    "28000000140005050300000000000000" +
      "0218000005000000" +
      "08000200c0a87b01" +
      "08000100c0a87b01",
  );
});

test("add an IPv6 address: without duplicate detection", () => {
  const address = { family: 6, bytes: ip6("fd00:0:0:0:0:0:0:1"), prefix: 64 } as const;
  const message = hex(codec.changeAddress(3, "add", 5, address));
  assert.is(message.slice(32, 48), "0a40020005000000");
  assert.is(message.slice(48, 88), "14000200fd000000000000000000000000000001");
});

test("delete an address: neither created nor replaced", () => {
  const address = { family: 4, bytes: ip4("192.168.123.1"), prefix: 24 } as const;
  assert.is(hex(codec.changeAddress(3, "delete", 5, address)).slice(8, 16), "15000500");
});

test("route through a device: link scope, host bits cleared", () => {
  const dst = { family: 4, bytes: ip4("100.127.1.2"), prefix: 10 } as const;
  assert.is(
    hex(codec.changeRoute(4, "replace", { dst, device: 5, metric: 10 })),
    "34000000180005050400000000000000" +
      "020a0000fe04fd0100000000" +
      "0800010064400000" +
      "0800040005000000" +
      "080006000a000000",
  );
});

test("route through a gateway: universe scope", () => {
  const dst = { family: 4, bytes: ip4("100.64.0.0"), prefix: 10 } as const;
  const gateway = { family: 4, bytes: ip4("172.31.9.9") } as const;
  assert.is(
    hex(codec.changeRoute(4, "replace", { dst, gateway })).slice(32),
    "020a0000fe04000100000000" + "0800010064400000" + "08000500ac1f0909",
  );
});

test("routes into large tables carry the table as an attribute", () => {
  const dst = { family: 6, bytes: ip6("8000:0:0:0:0:0:0:1"), prefix: 1 } as const;
  const message = hex(codec.changeRoute(4, "delete", { dst, device: 1, table: 1000 }));
  assert.is(message.slice(8, 16), "19000500");
  assert.is(message.slice(32, 56), "0a010000000000010000000".padEnd(24, "0"));
  assert.is(message.slice(56, 96), "1400010080000000000000000000000000000000");
  assert.is(message.slice(96, 112), "08000f00e8030000");
});

test("find a route: whole address, mark and device", () => {
  const dst = { family: 4, bytes: ip4("192.0.2.1") } as const;
  assert.is(
    hex(codec.getRoute(9, { dst, mark: 0x64, device: 2 })).slice(8),
    "1a0005000900000000000000" +
      "022000000000000000000000" +
      "08000100c0000201" +
      "0800100064000000" +
      "0800040002000000",
  );
  const src = { family: 4, bytes: ip4("192.0.2.9") } as const;
  assert.is(
    hex(codec.getRoute(9, { dst, src })).slice(32),
    "022020000000000000000000" + "08000100c0000201" + "08000200c0000209",
  );
});

test("an address that is too short or a prefix that is too long is refused", () => {
  const short = { family: 6, bytes: ip4("192.0.2.1") } as const;
  assert.throws(() => codec.getRoute(1, { dst: short }), /too short/);
  const long = { family: 4, bytes: ip4("192.0.2.1"), prefix: 33 } as const;
  assert.throws(() => codec.changeRoute(1, "replace", { dst: long }), /too long/);
});

const LINK =
  "3c000000 1000 0000 07000000 00000000 0000feff 05000000 c1100100 00000000" +
  "09000300 74756e30 00000000 08000400 8c050000 08000d00 f4010000";

test("a link is read with name, MTU, queue and state", () => {
  assert.equal(codec.readLinks(bytes(LINK)), [
    { index: 5, name: "tun0", mtu: 1420, txQueueLen: 500, up: true, running: true },
  ]);
});

test("events: up, down, gone and moved", () => {
  const down = LINK.replace("c1100100", "c0100100");
  const gone = LINK.replace("1000 0000", "1100 0000");
  const moved = gone.replace("3c000000", "44000000") + "08002d00 01000000";
  const events = codec.readLinkEvents(bytes(LINK + down + gone + moved));
  assert.equal(
    events.map(({ kind }) => kind),
    ["up", "down", "gone", "moved"],
  );
  assert.is(events[3]?.link.name, "tun0");
});

test("an acknowledgement is found by its number, with the kernel's words", () => {
  const other = "24000000 0200 0000 06000000 00000000 edffffff" + "00".repeat(16);
  // Capped, with one text attribute.
  const ack =
    "34000000 0200 0003 07000000 00000000 9bffffff 20000000 1800 0505 07000000 00000000" +
    "0f000100 4e6f2067 61746577 61790000";
  assert.equal(codec.readAck(bytes(other + ack), 7), { errno: 101, text: "No gateway" });
  assert.equal(codec.readAck(bytes(other), 7), undefined);
  assert.equal(codec.readAck(bytes(other), 6), { errno: 19, text: "" });
});

test("a route is read with device, gateway, source and table", () => {
  const answer =
    "40000000 1800 0000 07000000 00000000 02200000 fe000001 00000000" +
    "08000400 05000000 08000500 ac1f0901 08000700 ac1f0902 08000f00 e8030000";
  const route = codec.readRoute(bytes(answer.replace("40000000", "3c000000")));
  assert.is(route?.device, 5);
  assert.is(route?.type, 1);
  assert.is(route?.table, 1000);
  assert.is(hex(route?.gateway ?? new Uint8Array()), "ac1f0901");
  assert.is(hex(route?.source ?? new Uint8Array()), "ac1f0902");
});

test("damaged messages are never read past their end", () => {
  const whole = bytes(LINK);
  for (let end = 0; end < whole.length; end++) {
    assert.equal(codec.readLinks(whole.slice(0, end)), []);
  }
  // Each length field at 0, 1 and its most.
  for (const at of [0, 32, 44, 52]) {
    for (const value of [0, 1, 0xffff]) {
      const damaged = whole.slice();
      new DataView(damaged.buffer).setUint16(at, value, true);
      for (const link of codec.readLinks(damaged)) assert.ok(link.name.length <= 24);
      codec.readLinkEvents(damaged);
      codec.readAck(damaged, 7);
      codec.readRoute(damaged);
    }
  }
});

test("a refusal that lies about the length of the request has no text", () => {
  for (const length of ["ffffffff", "fcffff7f", "f0ffffff", "ffffff7f"]) {
    const lying = `2c000000 0200 0002 07000000 00000000 9bffffff ${length}` + "00".repeat(20);
    assert.equal(codec.readAck(bytes(lying), 7), { errno: 101, text: "" });
  }
});

test.run();
