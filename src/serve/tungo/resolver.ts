/**
 * Sets the DNS servers that a device brings (`dns=`) and takes them back: through systemd-resolved
 * where it runs, else resolvconf, else by writing resolv.conf. None of them working is a warning
 * and no more: traffic is carried all the same.
 *
 * resolv.conf as a file: what stood there is kept beside our state, so that the next start puts it
 * back if this process was killed; it is only put back while the file is still ours. The file is
 * left alone in a network namespace whose resolv.conf is the machine's.
 */
import { spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { codeOf, messageOf } from "../../errors.ts";
import type { Logger } from "../../log.ts";

export interface DnsRequest {
  readonly device: string;
  /** IP texts. */
  readonly servers: readonly string[];
  /** Names that these servers are asked for; `~.` = all. Only systemd-resolved knows them. */
  readonly domains: readonly string[];
}

/** Where the system keeps what is read and written here. */
export interface DnsPaths {
  readonly resolvConf: string;
  /** Ours; survives the process, not the machine's restart. */
  readonly state: string;
  readonly resolved: string;
}

export const SYSTEM_PATHS: DnsPaths = {
  resolvConf: "/etc/resolv.conf",
  state: "/run/tsgost",
  resolved: "/run/systemd/resolve",
};

/** Takes the setting back; never rejects. */
export type UndoDns = () => Promise<void>;

const TIMEOUT_MS = 5000;
const CONF_BYTES_MAX = 65_536;
const MARK = "# set by tsgost for ";

/** undefined: it could not be set; said in the log. Never rejects. */
export async function setDnsServers(
  request: DnsRequest,
  log: Logger,
  paths: DnsPaths = SYSTEM_PATHS,
): Promise<UndoDns | undefined> {
  const failures: string[] = [];
  for (const way of [byResolved, byResolvconf, byFile]) {
    try {
      const undo = await way(request, paths);
      return async () => {
        try {
          await undo();
        } catch (error) {
          log.warn(`the DNS servers of ${request.device} stay: ${messageOf(error)}`);
        }
      };
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  log.warn(
    `cannot set DNS servers for ${request.device} (${failures.join("; ")}); continuing, ` +
      "set them in /etc/resolv.conf or remove dns",
  );
  return undefined;
}

async function byResolved(request: DnsRequest, paths: DnsPaths): Promise<UndoDns> {
  const { device, servers, domains } = request;
  if (!existsSync(paths.resolved)) throw new Error("no systemd-resolved");
  await run("resolvectl", ["dns", device, ...servers]);
  if (domains.length > 0) await run("resolvectl", ["domain", device, ...domains]);
  return async () => {
    // The device takes its settings with it; one that was handed over stays.
    if (existsSync(`/sys/class/net/${device}`)) await run("resolvectl", ["revert", device]);
  };
}

async function byResolvconf(request: DnsRequest): Promise<UndoDns> {
  const record = `${request.device}.tsgost`;
  const text = request.servers.map((server) => `nameserver ${server}\n`).join("");
  await run("resolvconf", ["-a", record], text);
  return () => run("resolvconf", ["-d", record]);
}

function byFile(request: DnsRequest, paths: DnsPaths): Promise<UndoDns> {
  const owner = ownerOf(readConf(paths.resolvConf));
  if (owner !== undefined && owner !== process.pid && isAlive(owner)) {
    throw new Error(`${paths.resolvConf} is in the hands of process ${owner}`);
  }
  restoreDnsServers(paths);
  if (isForeignFile(paths.resolvConf)) {
    throw new Error(`${paths.resolvConf} belongs to another network namespace`);
  }
  const before = readConf(paths.resolvConf);
  const kept = before.split("\n").filter((line) => /^\s*(search|domain|options)\b/.test(line));
  const mine = [
    `${MARK}${request.device}, process ${process.pid}; what stood here comes back at its end`,
    ...request.servers.map((server) => `nameserver ${server}`),
    ...kept,
    "",
  ].join("\n");
  mkdirSync(paths.state, { recursive: true, mode: 0o755 });
  writeFileSync(backupOf(paths), before, { mode: 0o644 });
  // In place: the file may be a mount of its own, which cannot be renamed over.
  writeFileSync(paths.resolvConf, mine);
  return Promise.resolve(() => {
    restoreDnsServers(paths);
    return Promise.resolve();
  });
}

/** Puts back what an earlier process left; true if there was something. */
export function restoreDnsServers(paths: DnsPaths = SYSTEM_PATHS): boolean {
  const backup = backupOf(paths);
  if (!existsSync(backup)) return false;
  const isOurs = readConf(paths.resolvConf).startsWith(MARK);
  if (isOurs) writeFileSync(paths.resolvConf, readConf(backup));
  rmSync(backup, { force: true });
  return isOurs;
}

/** The process that wrote it; undefined: none of ours. */
function ownerOf(conf: string): number | undefined {
  const [, pid] = /^# set by tsgost for \S+, process (\d+);/.exec(conf) ?? [];
  return pid === undefined ? undefined : Number(pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

function backupOf(paths: DnsPaths): string {
  return join(paths.state, "resolv.conf");
}

function readConf(path: string): string {
  if (!existsSync(path)) return "";
  return readFileSync(path).subarray(0, CONF_BYTES_MAX).toString("utf8");
}

/** This network namespace is not the machine's, but the file is. */
function isForeignFile(path: string): boolean {
  try {
    if (readlinkSync("/proc/self/ns/net") === readlinkSync("/proc/1/ns/net")) return false;
    const [own, root] = [statSync(path), statSync(join("/proc/1/root", path))];
    return own.dev === root.dev && own.ino === root.ino;
  } catch {
    // Without leave to look at process 1 there is no leave to write the file either.
    return false;
  }
}

function run(command: string, args: readonly string[], input = ""): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["pipe", "ignore", "ignore"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`${command}: ${why}`));
    };
    child.on("error", (error) => fail(messageOf(error)));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    child.on("exit", (code, signal) => {
      if (code !== 0)
        return fail(signal === null ? `exit status ${code ?? -1}` : `ended by ${signal}`);
      clearTimeout(timer);
      resolve();
    });
  });
}
