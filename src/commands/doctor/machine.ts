/** What this machine must have for a TUN device and sockets: looked at, nothing is left behind. */
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import * as abi from "../../../assembly/abi.ts";
import { codeOf, messageOf } from "../../errors.ts";
import { loadNative } from "../../sys/addon.ts";
import type { Native, TunHandle } from "../../sys/native.ts";
import { Netlink } from "../../sys/netlink.ts";
import { fail, note, ok, type Finding } from "./finding.ts";

const NODE_MAJOR_MIN = 20;
const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;
const TUN_PATH = "/dev/net/tun";
/** Descriptors that a busy service needs: two a flow are usual. */
const FILES_WANTED = 16_384;
/** Before this there was no release of this program: the clock is wrong. */
const CLOCK_FLOOR_MS = Date.UTC(2026, 0, 1);

/** `nowMs` is what the machine's clock says. */
export function checkMachine(nowMs: number): Finding[] {
  const findings = [checkNode(), checkClock(nowMs)];
  if (process.platform !== "linux") {
    const text = `${process.platform}: only Linux has a TUN device here`;
    findings.push(fail("system", text, "run tungo services on Linux; proxies run anywhere"));
    return findings;
  }
  const capabilities = readCapabilities();
  findings.push(checkPrivilege(capabilities), checkTunFile());
  const native = checkAddon(findings);
  if (native !== undefined && has(capabilities, CAP_NET_ADMIN)) {
    findings.push(checkDevice(native));
  }
  if (native !== undefined) findings.push(...checkDefaultRoutes(native));
  findings.push(checkEcho(capabilities), checkFiles());
  return findings;
}

function checkNode(): Finding {
  const major = Number(process.versions.node.split(".")[0]);
  if (major >= NODE_MAJOR_MIN) return ok("node", `version ${process.versions.node}`);
  const text = `version ${process.versions.node} is too old`;
  return fail("node", text, `install Node ${NODE_MAJOR_MIN} or newer`);
}

function checkClock(nowMs: number): Finding {
  const text = new Date(nowMs).toISOString();
  if (nowMs >= CLOCK_FLOOR_MS) return ok("clock", text);
  const remedy = "set it (timedatectl set-ntp true): certificates would seem not valid yet";
  return fail("clock", `${text} lies in the past`, remedy);
}

/** Effective capabilities as bits; 0 if they cannot be read. */
function readCapabilities(): bigint {
  try {
    const line = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"));
    return BigInt(`0x${line?.[1] ?? "0"}`);
  } catch {
    return 0n;
  }
}

function has(capabilities: bigint, bit: number): boolean {
  return (capabilities & (1n << BigInt(bit))) !== 0n;
}

function checkPrivilege(capabilities: bigint): Finding {
  if (has(capabilities, CAP_NET_ADMIN)) return ok("privileges", "CAP_NET_ADMIN is there");
  return fail(
    "privileges",
    "CAP_NET_ADMIN is missing: no device can be made or configured",
    "run as root (sudo), give the service AmbientCapabilities=CAP_NET_ADMIN, the container " +
      "--cap-add NET_ADMIN, or hand over an open device with tunFd",
  );
}

function checkTunFile(): Finding {
  try {
    const isDevice = statSync(TUN_PATH).isCharacterDevice();
    if (!isDevice) return fail(TUN_PATH, "is no device", `mknod ${TUN_PATH} c 10 200`);
    accessSync(TUN_PATH, constants.R_OK | constants.W_OK);
    return ok(TUN_PATH, "can be opened");
  } catch (error) {
    if (codeOf(error) === "EACCES") {
      return fail(TUN_PATH, "may not be opened by this user", `chmod 666 ${TUN_PATH}, or be root`);
    }
    const remedy =
      `modprobe tun, or mkdir -p /dev/net && mknod ${TUN_PATH} c 10 200; a container needs ` +
      `--device ${TUN_PATH}`;
    return fail(TUN_PATH, messageOf(error), remedy);
  }
}

function checkAddon(findings: Finding[]): Native | undefined {
  try {
    const native = loadNative();
    findings.push(ok("addon", "loaded"));
    return native;
  } catch (error) {
    const remedy = "install a C compiler (apt install gcc libc6-dev) and reinstall the package";
    findings.push(fail("addon", messageOf(error), remedy));
    return undefined;
  }
}

/** Makes a device for a moment: is it allowed, and what does the kernel take off our hands? */
function checkDevice(native: Native): Finding {
  let handle: TunHandle;
  try {
    handle = native.tunOpen({ name: "tsgdoc%d", vnet: true });
  } catch (error) {
    const remedy = "look for a policy (seccomp, AppArmor, a container runtime) that forbids it";
    return fail("device", messageOf(error), remedy);
  }
  native.close(handle.fd);
  const wanted: readonly (readonly [string, number])[] = [
    ["checksums", abi.OFFLOAD_CSUM],
    ["TSO IPv4", abi.OFFLOAD_TSO4],
    ["TSO IPv6", abi.OFFLOAD_TSO6],
    ["USO", abi.OFFLOAD_USO],
  ];
  const missing = wanted.filter(([, bit]) => (handle.offloads & bit) === 0).map(([name]) => name);
  if (missing.length === 0) return ok("device", "can be made, with all offloads");
  const text = `can be made; this kernel does not offer ${missing.join(", ")}`;
  return note("device", text, "a newer kernel (6.2 for USO) moves more bytes for the same work");
}

function checkDefaultRoutes(native: Native): Finding[] {
  const netlink = new Netlink(native);
  const ways = [
    { name: "IPv4", family: 4, bytes: Uint8Array.of(198, 51, 100, 1) },
    { name: "IPv6", family: 6, bytes: Uint8Array.of(0x20, 1, 0xd, 0xb8, ...new Uint8Array(12)) },
  ] as const;
  const links = new Map(netlink.links().map((link) => [link.index, link.name]));
  const found = ways.map(({ name, family, bytes }) => {
    try {
      const { device } = netlink.routeTo({ dst: { family, bytes } });
      return { name, by: links.get(device) ?? `device ${device}` };
    } catch {
      return { name, by: undefined };
    }
  });
  if (found.every(({ by }) => by === undefined)) {
    const remedy = "connect the machine, or give interface=DEVICE where a route is missing";
    return [note("routes", "there is no default route, neither IPv4 nor IPv6", remedy)];
  }
  const text = found.map(({ name, by }) => `${name} ${by === undefined ? "none" : `by ${by}`}`);
  return [ok("routes", `default: ${text.join(", ")}`)];
}

function checkEcho(capabilities: bigint): Finding {
  if (has(capabilities, CAP_NET_RAW)) return ok("ping", "CAP_NET_RAW is there");
  const path = "/proc/sys/net/ipv4/ping_group_range";
  try {
    const [low = 1, high = 0] = readFileSync(path, "utf8").trim().split(/\s+/).map(Number);
    const group = process.getegid?.() ?? -1;
    if (group >= low && group <= high) return ok("ping", "allowed by ping_group_range");
  } catch {
    // No such file: no such sockets.
  }
  const remedy = 'sysctl net.ipv4.ping_group_range="0 2147483647", or CAP_NET_RAW';
  return note("ping", "pings of clients cannot be passed on (echo=host)", remedy);
}

function checkFiles(): Finding {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const [, soft = "0"] = /^Max open files\s+(\d+|unlimited)/m.exec(limits) ?? [];
    const count = soft === "unlimited" ? Infinity : Number(soft);
    if (count >= FILES_WANTED) return ok("open files", `limit ${soft}`);
    const text = `limit ${soft}: enough for about ${Math.floor(count / 2)} flows`;
    return note("open files", text, `ulimit -n ${FILES_WANTED}, or LimitNOFILE= in the unit`);
  } catch (error) {
    return note("open files", messageOf(error), "mount /proc");
  }
}
