/** The vnet header: which are taken, which contradict the packet. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { CoreHarness } from "../kit/core.ts";
import {
  CLIENT_6,
  GSO_ECN,
  GSO_TCPV4,
  GSO_UDP_L4,
  SERVER_6,
  VNET_DATA_VALID,
  VNET_NEEDS_CSUM,
  expectIcmp,
  icmpPacket,
  tcpPacket,
  udpPacket,
  withVnet,
  type VnetFields,
} from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("ip/vnet");
const payload = pattern(100);
const partial = udpPacket({ dport: 9, payload, checksum: "partial" });
const NEEDS: VnetFields = { flags: VNET_NEEDS_CSUM, csumStart: 20, csumOffset: 6 };

for (const vnetBytes of [10, 12] as const) {
  test(`TUN-2 TUN-3 TUN-4: takes partial, valid and complete checksums behind ${vnetBytes} bytes`, () => {
    const core = new CoreHarness({ vnetBytes });
    const bytes = vnetBytes;
    const plain = udpPacket({ dport: 9, payload });
    const wrong = udpPacket({ dport: 9, payload, checksum: "bad" });
    const fine = [
      withVnet(plain, { bytes }),
      withVnet(partial, { ...NEEDS, bytes }),
      withVnet(partial, { ...NEEDS, bytes, hdrLen: 28 }),
      withVnet(wrong, { bytes, flags: VNET_DATA_VALID }),
      withVnet(partial, { ...NEEDS, bytes, flags: VNET_NEEDS_CSUM | VNET_DATA_VALID }),
    ];
    assert.is(core.send(...fine).length, fine.length);
    assert.is(core.send(withVnet(wrong, { bytes })).length, 0);
    assert.is(core.stat("DROP_L4_CHECKSUM"), 1);
    for (let length = 0; length < bytes + 20; length++) {
      assert.equal(core.send(withVnet(plain, { bytes }).subarray(0, length)), []);
    }
    core.tearDown();
  });
}

test("TUN-2 TUN-3 TUN-7: drops headers that contradict the packet", () => {
  const core = new CoreHarness({ vnetBytes: 10 });
  const gso = { ...NEEDS, gsoSize: 50, gsoType: GSO_UDP_L4, hdrLen: 28 };
  const bad: VnetFields[] = [
    { ...NEEDS, csumStart: 24 },
    { ...NEEDS, csumStart: 0 },
    { ...NEEDS, csumStart: 65535 },
    { ...NEEDS, csumOffset: 16 },
    { ...NEEDS, csumOffset: 65535 },
    { ...NEEDS, csumStart: 127, csumOffset: 0 },
    { ...NEEDS, hdrLen: 129 },
    { ...gso, gsoSize: 0 },
    { ...gso, gsoType: GSO_TCPV4 },
    { ...gso, gsoType: 4 },
    { ...gso, gsoType: 2 },
    { ...gso, gsoType: 3 },
    { ...gso, gsoType: 6 },
    { ...gso, hdrLen: 60_000 },
    { flags: 4 },
    { flags: 0x80 },
  ];
  for (const fields of bad) {
    const before = core.stat("DROP_VNET");
    assert.equal(core.send(withVnet(partial, fields)), [], JSON.stringify(fields));
    assert.is(core.stat("DROP_VNET"), before + 1, JSON.stringify(fields));
  }
  assert.is(core.send(withVnet(partial, { ...gso, gsoType: GSO_UDP_L4 | GSO_ECN })).length, 1);
  core.tearDown();
});

test("TUN-7: drops UDP segmentation of TCP, and partial checksums of protocols without one", () => {
  const core = new CoreHarness({ vnetBytes: 10 });
  const tcp = tcpPacket({ payload, checksum: "partial" });
  const fields = { ...NEEDS, csumOffset: 16, gsoSize: 50, gsoType: GSO_UDP_L4, hdrLen: 40 };
  core.send(withVnet(tcp, fields), withVnet(icmpPacket({ payload }), NEEDS));
  assert.is(core.stat("DROP_VNET"), 2);
  core.tearDown();
});

test("TUN-12: writes a header before everything, with partial checksums where the device takes them", () => {
  for (const offloads of [0, abi.OFFLOAD_CSUM]) {
    const core = new CoreHarness({ vnetBytes: 12, offloads });
    core.send(withVnet(icmpPacket({ payload }), { bytes: 12 }));
    core.send(withVnet(icmpPacket({ src: CLIENT_6, dst: SERVER_6, payload }), { bytes: 12 }));
    const [four, six] = core.flush().map((bytes) => expectIcmp(bytes, core.framing));
    assert.is(four!.vnet!.flags, 0, "the ICMP checksum has no pseudo-header to be partial with");
    assert.is(six!.vnet!.flags, offloads === 0 ? 0 : VNET_NEEDS_CSUM);
    core.tearDown();
  }
});

test.run();
