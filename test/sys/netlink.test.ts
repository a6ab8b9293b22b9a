/** Links, addresses and routes of a real kernel, in a namespace of the test's own. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { loadNative } from "../../src/sys/addon.ts";
import { READABLE } from "../../src/sys/native.ts";
import { readLinkEvents } from "../../src/sys/netlink-codec.ts";
import { GROUP_LINK, Netlink, addressText, prefixText } from "../../src/sys/netlink.ts";
import { Poller } from "../../src/sys/poll.ts";
import { enterNamespace, ip4, ip6, noDevices, runTool, until } from "./help.ts";

const test = suite("sys/netlink");

test("addresses as text", () => {
  assert.is(addressText({ family: 4, bytes: ip4("192.0.2.1") }), "192.0.2.1");
  const padded = new Uint8Array(16);
  padded.set(ip4("10.0.0.1"));
  assert.is(addressText({ family: 4, bytes: padded }), "10.0.0.1");
  assert.is(addressText({ family: 6, bytes: ip6("2001:db8:0:0:0:0:0:1") }), "2001:db8::1");
  assert.is(prefixText({ family: 6, bytes: new Uint8Array(16), prefix: 0 }), "::/0");
});

const reason = noDevices();
test.skipUnless(reason === "", reason);

const native = reason === "" ? loadNative() : undefined;
let leave: (() => void) | undefined;
let fd = -1;

test.before(async () => {
  if (native === undefined) return;
  leave = await enterNamespace(native);
  ({ fd } = native.tunOpen({ name: "addon0", vnet: true }));
});
test.after(() => {
  if (fd >= 0) native?.close(fd);
  leave?.();
});

function kernel(): { native: NonNullable<typeof native>; netlink: Netlink } {
  if (native === undefined) throw new Error("no addon");
  return { native, netlink: new Netlink(native) };
}

/** The message and the cause's code of what `run` throws. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    const { code, message, cause } = error as Error & { code: string; cause: { code: string } };
    assert.is(code, "TSGOST_ERR_NETLINK");
    return `${message} [${cause.code}]`;
  }
  throw new Error("nothing was thrown");
}

const NET = { family: 4, bytes: ip4("192.168.123.1"), prefix: 24 } as const;
const NET_6 = { family: 6, bytes: ip6("fd00:0:0:0:0:0:0:1"), prefix: 64 } as const;
const FAR = { family: 4, bytes: ip4("100.64.0.0"), prefix: 10 } as const;

test("a link is found, by name and among all", () => {
  const { netlink, native: addon } = kernel();
  const link = netlink.link("addon0");
  assert.is(link.up, false);
  assert.is(link.mtu, 1500);
  assert.is(link.index, addon.ifIndex("addon0"));
  assert.equal(
    netlink
      .links()
      .map(({ name }) => name)
      .sort(),
    ["addon0", "lo"],
  );
  assert.is(addon.ifIndex("nosuch"), 0);
});

test("MTU, queue, addresses and state arrive in the kernel", async () => {
  const { netlink } = kernel();
  const link = netlink.link("addon0");
  netlink.setMtu(link, 1420);
  netlink.setTxQueueLen(link, 1234);
  netlink.addAddress(link, NET);
  netlink.addAddress(link, NET_6);
  // Again: no error.
  netlink.addAddress(link, NET);
  netlink.setUp(link, true);
  assert.equal(netlink.link("addon0"), {
    ...link,
    mtu: 1420,
    txQueueLen: 1234,
    up: true,
    running: true,
  });
  const { output } = await runTool("ip", "address", "show", "addon0");
  assert.match(output, /inet 192\.168\.123\.1\/24/);
  assert.match(output, /inet6 fd00::1\/64/);
  assert.not.match(output, /tentative/);
  netlink.deleteAddress(link, NET_6);
  assert.not.match((await runTool("ip", "address", "show", "addon0")).output, /fd00::1/);
});

test("routes are replaced, found and deleted, with gateway, metric and table", async () => {
  const { netlink } = kernel();
  const { index: device } = netlink.link("addon0");
  const gateway = { family: 4, bytes: ip4("192.168.123.9") } as const;
  netlink.replaceRoute({ dst: FAR, device });
  netlink.replaceRoute({ dst: FAR, device });
  netlink.replaceRoute({ dst: FAR, gateway, metric: 77 });
  netlink.replaceRoute({ dst: FAR, gateway, table: 1000 });
  netlink.replaceRoute({ dst: { ...NET_6, bytes: new Uint8Array(16), prefix: 1 }, device });
  const { output } = await runTool("sh", "-c", "ip route; ip -6 route; ip route show table 1000");
  assert.match(output, /100\.64\.0\.0\/10 dev addon0 proto static scope link/);
  assert.match(output, /100\.64\.0\.0\/10 via 192\.168\.123\.9 dev addon0 proto static metric 77/);
  assert.match(output, /::\/1 dev addon0/);
  assert.is(output.match(/via 192\.168\.123\.9/g)?.length, 2);
  const answer = netlink.routeTo({ dst: { family: 4, bytes: ip4("100.64.1.1") }, mark: 9 });
  assert.is(answer.device, device);
  assert.is(answer.type, 1);
  assert.equal(answer.source, ip4("192.168.123.1"));
  netlink.deleteRoute({ dst: FAR, device });
  const next = netlink.routeTo({ dst: { family: 4, bytes: ip4("100.64.1.1") } });
  assert.equal(next.gateway, gateway.bytes);
});

test("refusals name the object and say the kernel's words", () => {
  const { netlink } = kernel();
  const gateway = { family: 4, bytes: ip4("172.31.9.9") } as const;
  assert.match(
    refusal(() => netlink.replaceRoute({ dst: FAR, gateway })),
    /^add route 100\.64\.0\.0\/10 via 172\.31\.9\.9: network is unreachable.*\[ENETUNREACH\]$/,
  );
  assert.match(
    refusal(() => netlink.link("nosuch")),
    /^link nosuch: no such device.*\[ENODEV\]$/,
  );
  const gone = { ...netlink.link("addon0"), index: 999, name: "gone" };
  assert.match(
    refusal(() => netlink.setUp(gone, true)),
    /^set gone up: no such device/,
  );
  assert.match(
    refusal(() => netlink.addAddress(gone, NET)),
    /^add address 192\.168\.123\.1\/24 to gone:/,
  );
  const link = netlink.link("addon0");
  assert.match(
    refusal(() => netlink.setMtu(link, 70_000)),
    /^set mtu 70000 of addon0: .*\[EINVAL\]$/,
  );
  assert.match(
    refusal(() => netlink.routeTo({ dst: { family: 4, bytes: ip4("8.8.8.8") } })),
    /^find route to 8\.8\.8\.8: network is unreachable.*\[ENETUNREACH\]$/,
  );
});

test("a request that is no message is refused before it is sent", () => {
  const { native: addon } = kernel();
  assert.throws(() => addon.netlink(new Uint8Array(3)), /EINVAL/);
  assert.throws(() => addon.netlink(new Uint8Array(16)), /EINVAL/);
});

test("a dump of many links comes whole", async () => {
  const { netlink } = kernel();
  const lines = Array.from({ length: 60 }, (_, at) => `link add v${at} type veth peer name w${at}`);
  const { code, output } = await runTool(
    "sh",
    "-c",
    `printf '%s\n' ${lines.map((line) => `'${line}'`).join(" ")} | ip -batch -`,
  );
  assert.is(code, 0, output);
  const names = netlink.links().map(({ name }) => name);
  assert.is(names.length, 122);
  assert.ok(names.includes("v59"));
  assert.ok(names.includes("w0"));
});

test("a monitor tells that a link goes down and up", async () => {
  const { native: addon, netlink } = kernel();
  const monitor = addon.netlinkMonitor(GROUP_LINK);
  assert.is(addon.netlinkRead(monitor), undefined);
  const kinds: string[] = [];
  const watch = new Poller(addon).watch(monitor, READABLE, () => {
    for (;;) {
      const bytes = addon.netlinkRead(monitor);
      if (bytes === undefined) return;
      for (const { kind, link } of readLinkEvents(bytes)) kinds.push(`${link.name} ${kind}`);
    }
  });
  const link = netlink.link("addon0");
  netlink.setUp(link, false);
  netlink.setUp(link, true);
  await until("both events", () => kinds.includes("addon0 down") && kinds.at(-1) === "addon0 up");
  watch.close();
  addon.close(monitor);
});

test("a namespace file that is none is refused", () => {
  const { native: addon } = kernel();
  assert.throws(() => addon.setNetns("/nonexistent"), /ENOENT/);
  assert.throws(() => addon.setNetns("/etc/hostname"), /EINVAL/);
});

test.run();
