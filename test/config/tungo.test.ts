/** Options of a tungo service: keys, aliases, the core's words, and what is refused. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { formatCidr, formatIp } from "../../src/config/net.ts";
import { effectiveRoutes } from "../../src/config/plan.ts";
import { TUNGO_KEYS, tungoOptions } from "../../src/config/tungo.ts";
import type { TungoParse } from "../../src/config/tungo.ts";
import { CORE_OPTIONS } from "../../src/core/options.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start, startYaml } from "./read.ts";

function tungo(query: string, ...more: readonly string[]): TungoParse {
  const { config } = start(["-L", `tungo://:0?${query}`, ...more]);
  return tungoOptions(config.services[0]!);
}

function refused(query: string): string {
  return refusal(() => tungo(query)).message;
}

function routes(query: string): string[] {
  return effectiveRoutes(tungo(query).options).map(
    ({ dst, gw }) => formatCidr(dst) + (gw === undefined ? "" : ` ${formatIp(gw)}`),
  );
}

const test = suite("config/tungo");

test("without keys everything has its default", () => {
  const { options, warnings } = tungo("");
  assert.is(options.name, "tungo");
  assert.is(options.mtu, 1420);
  assert.is(options.vnet, true);
  assert.is(options.connect, "faithful");
  assert.is(options.workers, 1);
  assert.is(options.dialTimeoutMs, 15_000);
  assert.equal([options.nets, options.routes, options.dns, warnings], [[], [], [], []]);
  for (const option of CORE_OPTIONS) {
    if (option.key !== "echo")
      assert.is(options.words.get(option.word), option.default, option.key);
  }
});

test("every option of the core is reached by its key and its aliases", () => {
  for (const option of CORE_OPTIONS) {
    if (["connect", "echo", "congestion"].includes(option.kind)) continue;
    const value = option.min === 0 ? Math.min(option.max, option.default + 1) : option.min;
    const unit = option.kind === "ms" ? "ms" : "";
    for (const key of [option.key, ...(option.aliases ?? [])]) {
      // Memory for the flow must allow what is asked for.
      const cap = option.key.startsWith("send") || option.key.startsWith("recv");
      const query = `${key}=${value}${unit}${cap ? "&bufferCap=1G" : ""}`;
      assert.is(tungo(query).options.words.get(option.word), value, query);
    }
  }
});

test("values outside of an option's bounds are refused with the bounds", () => {
  assert.match(refused("mtu=1279"), /mtu: "1279" is outside 1280 … 65535/);
  assert.match(refused("ttl=256"), /ttl: "256" is outside 1 … 255/);
  assert.match(refused("pendingTimeout=10ms"), /pendingTimeout: "10ms" is outside 100/);
  assert.match(refused("flows=many"), /flows: "many" is not a whole number/);
  assert.match(refused("recvBuffer=x"), /recvBuffer: "x" is not a number of bytes/);
  assert.match(refused("rtoMin=2s&rtoMax=1s"), /rtoMin: "2s" is more than rtoMax/);
});

test("a bound that was not given follows the one that was", () => {
  const words = tungo("recvBuffer=16MiB").options.words;
  assert.is(words.get(abi.CFG_RECV_BUFFER_MAX_BYTES), 16 * 1024 ** 2);
  const small = tungo("bufferCap=4MiB").options.words;
  assert.is(small.get(abi.CFG_RECV_BUFFER_MAX_BYTES), 4 * 1024 ** 2);
  assert.is(tungo("mtu=0").options.mtu, 1420);
});

test("addresses keep host bits and become the core's own", () => {
  const { options } = tungo("net=192.168.123.1/24,fd00::1/64");
  assert.equal(options.nets.map(formatCidr), ["192.168.123.1/24", "fd00::1/64"]);
  assert.is(options.words.get(abi.CFG_OWN_4), 0x017ba8c0);
  assert.is(options.words.get(abi.CFG_OWN_6), 0x000000fd);
  assert.is(options.words.get(abi.CFG_OWN_6 + 3), 0x01000000);
});

test("addresses that cannot be are refused with a correction", () => {
  assert.match(refused("net=192.168.123.2/24/64"), /did you mean 192\.168\.123\.2\/24\?/);
  assert.match(refused("net=10.0.0.1"), /did you mean 10\.0\.0\.1\/24\?/);
  assert.match(refused("net=10.0.0.1/33"), /"10\.0\.0\.1\/33" is not ADDRESS\/PREFIX/);
  assert.match(refused("net=10.0.0.1/8,10.1.0.1/16"), /10\.0\.0\.1\/8 and 10\.1\.0\.1\/16 overlap/);
  for (const text of ["224.0.0.1/24", "0.0.0.0/8", "10.0.0.1/0", "ff02::1/64", "::/64"]) {
    assert.match(refused(`net=${text}`), /no address a device can have/);
  }
});

test("device names fit the kernel's", () => {
  assert.is(tungo("name=exactly15bytes0").options.name, "exactly15bytes0");
  assert.is(tungo("name=tun%25d").options.name, "tun%d");
  assert.match(refused("name=sixteen-bytes-00"), /16 bytes; device names have at most 15/);
  assert.match(refused("name=sechzehn-bytes-%C3%BC"), /17 bytes/);
  for (const name of ["a/b", "a%20b", "..", "a:b", "%25s", "%25d%25d"]) {
    assert.match(refused(`name=${name}`), /no device name/, name);
  }
});

test("default is both halves of both families, less what is excluded", () => {
  const halves = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"];
  assert.equal(routes("route=default"), halves);
  assert.equal(routes("route=default&exclude=0.0.0.0/1,::/1"), ["128.0.0.0/1", "8000::/1"]);
  assert.equal(routes("route=10.0.0.1/8&exclude=10.128.0.0/9"), ["10.0.0.0/9"]);
  assert.equal(tungo("route=default").warnings, []);
});

test("routes take a gateway of their own or the common one of their family", () => {
  const net = "net=10.9.0.1/24&gw=10.9.0.2";
  assert.equal(routes(`${net}&routes=10.1.0.0/16%2010.9.0.3,10.2.0.0/16`), [
    "10.1.0.0/16 10.9.0.3",
    "10.2.0.0/16 10.9.0.2",
  ]);
  assert.equal(routes(`${net}&route=10.3.0.0/16,fd01::/64`), ["10.3.0.0/16 10.9.0.2", "fd01::/64"]);
  assert.match(refused("route=10.0.0.0/8+::1"), /other address family/);
  assert.match(refused("route=10.0.0.0/8+x"), /CIDR, CIDR GATEWAY or default/);
  assert.match(refused("route=everything"), /route: "everything" is not a network/);
  assert.match(refused("gw=nowhere"), /gw: "nowhere" is not an IP address/);
  const [warning] = tungo("net=10.9.0.1/24&gw=10.8.0.1").warnings;
  assert.match(warning!, /10\.8\.0\.1 lies in no net/);
});

test("routes for a part of everything are warned about", () => {
  const warning = (query: string): string => tungo(query).warnings.join("; ");
  assert.match(warning("route=0.0.0.0/1"), /only a part of IPv4/);
  assert.match(warning("route=0.0.0.0/1,128.0.0.0/1"), /IPv4 and not IPv6/);
  assert.match(warning("route=0.0.0.0/0"), /IPv4 and not IPv6/);
  assert.match(warning("route=::/0"), /IPv6 and not IPv4/);
  assert.match(warning("route=default,8000::/1,::/2"), /^$/);
  assert.is(warning("route=10.0.0.0/8,192.168.0.0/16"), "");
});

test("dns is a list however it is written", () => {
  const dns = (query: string): string[] => tungo(query).options.dns.map(formatIp);
  assert.equal(dns("dns=1.1.1.1,8.8.8.8"), ["1.1.1.1", "8.8.8.8"]);
  assert.equal(dns("dns=1.1.1.1&dns=::1"), ["1.1.1.1", "::1"]);
  assert.equal(dns("tun.dns=1.1.1.1"), ["1.1.1.1"]);
  assert.match(refused("dns=one"), /dns: "one" is not an IP address/);
});

test("echo=auto is the host's without a chain, and the stack's with one", () => {
  const word = (query: string, ...more: string[]): number | undefined =>
    tungo(query, ...more).options.words.get(abi.CFG_ECHO_MODE);
  assert.is(word(""), abi.ECHO_HOST);
  assert.is(word("", "-F", "relay://h.example:1"), abi.ECHO_LOCAL);
  assert.is(word("echo=drop"), abi.ECHO_DROP);
  assert.is(word("echo=host", "-F", "relay://h.example:1"), abi.ECHO_HOST);
  assert.match(refused("echo=loud"), /echo: "loud" is not one of auto, host, local, drop/);
});

test("switches, workers and modes", () => {
  assert.is(tungo("vnet=off").options.vnet, false);
  assert.is(tungo("vnet=true").options.vnet, true);
  assert.is(tungo("connect=immediate").options.connect, "immediate");
  assert.is(tungo("tunFd=3").options.tunFd, 3);
  assert.match(refused("vnet=perhaps"), /vnet: "perhaps"/);
  assert.match(refused("workers=2"), /workers.*not possible yet/);
  assert.match(refused("connect=maybe"), /faithful, immediate/);
});

test("keys may stand in any section of YAML, and errors name line and column", () => {
  const yaml = (listener: string, handler: string, service: string): string =>
    [
      "services:",
      "- name: a",
      "  addr: :0",
      `  listener: {type: tungo, metadata: {${listener}}}`,
      `  handler: {type: tungo, metadata: {${handler}}}`,
      `  metadata: {${service}}`,
    ].join("\n");
  const { config } = startYaml(
    yaml("NAME: t0, mtu: 1300", "mtu: 1400, udpTimeout: 5", "so_mark: 9"),
  );
  const { options } = tungoOptions(config.services[0]!);
  assert.is(options.name, "t0");
  assert.is(options.mtu, 1300);
  assert.is(options.soMark, 9);
  assert.is(options.words.get(abi.CFG_UDP_TIMEOUT_MS), 5000);
  const { message } = refusal(() => startYaml(yaml("", "udpTimeout: soon", "")));
  assert.match(message, /gost\.yaml:5:37: udpTimeout: "soon"/);
});

test("two services cannot have one device", () => {
  const twice = ["-L", "tungo://:0?name=a", "-L", "tungo://:1?name=a"];
  assert.match(
    refusal(() => start(twice)).message,
    /service-0 and service-1 both want the device a/,
  );
  assert.is(
    start(["-L", "tungo://:0?name=a", "-L", "tungo://:1?name=b"]).config.services.length,
    2,
  );
});

test("names of keys are told apart without case", () => {
  const lowers = TUNGO_KEYS.map((key) => key.toLowerCase());
  assert.is(new Set(lowers).size, lowers.length);
});

test("GOST's keys of buffers and groups mean what the specification says", () => {
  const flags = (query: string): number => tungo(query).options.words.get(abi.CFG_FLAGS) ?? 0;
  assert.is(flags(""), 0);
  assert.is(flags("tcpModerateReceiveBuffer=true"), 0);
  assert.is(flags("tungo.tcpModerateReceiveBuffer=false"), abi.FLAG_NO_AUTOTUNE);
  assert.is(flags("multicastGroups=224.0.0.251,ff02::fb"), abi.FLAG_UDP_MULTICAST);
  const { multicastGroups } = tungo("multicastGroups=224.0.0.251,ff02::fb").options;
  assert.equal(multicastGroups.map(formatIp), ["224.0.0.251", "ff02::fb"]);
  assert.match(refused("multicastGroups=10.0.0.1"), /"10\.0\.0\.1" is no multicast address/);
  const queue = (query: string): number => tungo(query).options.udpQueueBytes;
  assert.equal(
    ["", "udp.bufferSize=4096", "udpBufferSize=1000000"].map(queue),
    [262_144, 65_536, 1_000_000],
  );
  assert.match(refused("udp.bufferSize=many"), /udp\.bufferSize: "many" is not a whole number/);
});

test.run();
