/**
 * What a configuration needs from the network: devices to leave by, names of proxies that resolve,
 * proxies that answer, certificates that hold. Each proxy of a first hop is dialled once, by its
 * device and mark, and nothing is asked of it unless a target is given.
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { connect as connectTls, type PeerCertificate, type TLSSocket } from "node:tls";
import { buildChain } from "../../chain/chain.ts";
import { Deadline } from "../../chain/deadline.ts";
import { dialTcp, resolveHost } from "../../chain/socket.ts";
import { metaInt, metaString } from "../../config/metadata.ts";
import type { ChainConfig, Config, HopConfig, NodeConfig } from "../../config/model.ts";
import { parseHostPort, parseIp } from "../../config/net.ts";
import { mayLoop, serviceChains } from "../../config/plan.ts";
import { boundDevices } from "../../config/start.ts";
import { tungoOptions } from "../../config/tungo.ts";
import { TsgostError, messageOf, usageError } from "../../errors.ts";
import { logger } from "../../log.ts";
import { loadNative } from "../../sys/addon.ts";
import { Netlink } from "../../sys/netlink.ts";
import { fail, note, ok, type Finding } from "./finding.ts";

const DIAL_MS = 5000;
const DAY_MS = 86_400_000;
const EXPIRY_DAYS = 14;
const NO_TLS_REMEDY = "is there a TLS server behind this port? tls, wss, mtls and mwss need one";
/** Dialers that speak TLS first. */
const TLS_DIALERS = new Set(["tls", "wss", "mtls", "mwss"]);

/** `nowMs` is what the machine's clock says, for certificates. */
export async function checkServers(config: Config, nowMs: number): Promise<Finding[]> {
  const findings: Finding[] = [];
  const used = new Set<string>();
  for (const service of config.services) {
    for (const { name } of serviceChains(service, config)) used.add(name);
    findings.push(...checkDevices(service, config));
  }
  for (const chain of config.chains.filter(({ name }) => used.has(name))) {
    const [first] = chain.hops;
    for (const node of first?.nodes ?? []) {
      if (first === undefined || node.connector.type === "direct") continue;
      findings.push(...(await checkNode({ chain, hop: first, node, nowMs })));
    }
  }
  return findings;
}

function checkDevices(service: Config["services"][number], config: Config): Finding[] {
  const check = `service ${service.name}`;
  const findings: Finding[] = [];
  const native = loadNative();
  for (const { name, place } of boundDevices(service, config)) {
    if (native.ifIndex(name) > 0) continue;
    const text = `${place}: there is no network device ${name}`;
    findings.push(fail(check, text, "ip link shows the names there are; correct interface="));
  }
  if (service.handler.type !== "tungo") return findings;
  const { options } = tungoOptions(service);
  if (options.tunFd === undefined && native.ifIndex(options.name) > 0) {
    const text = `the device ${options.name} exists already`;
    findings.push(fail(check, text, `end the process that has it, or choose another name=`));
  }
  if (mayLoop(options, serviceChains(service, config))) {
    const text = "tsgost's own sockets would enter its device";
    findings.push(
      fail(check, text, "give interface=DEVICE to the first -F, or exclude its address"),
    );
  }
  return findings.length > 0 ? findings : [ok(check, `device ${options.name} can be made`)];
}

/** Connects to the target through each chain that a service uses. */
export async function checkTarget(config: Config, target: string): Promise<Finding[]> {
  const destination = parseHostPort(target);
  if (destination === undefined) throw usageError(`--target ${target} is not HOST:PORT`);
  const used = new Set(
    config.services.flatMap((service) => serviceChains(service, config)).map(({ name }) => name),
  );
  const findings: Finding[] = [];
  for (const chain of config.chains.filter(({ name }) => used.has(name))) {
    const built = buildChain(chain, { log: logger });
    const startMs = performance.now();
    try {
      const signal = AbortSignal.timeout(2 * DIAL_MS);
      (await built.connect(destination, { signal })).reset();
      const ms = Math.round(performance.now() - startMs);
      findings.push(ok(chain.name, `${target} answers through the chain after ${ms} ms`));
    } catch (error) {
      const remedy = "look at the server's log: user and password, its own way to the target";
      findings.push(fail(chain.name, `${target}: ${messageOf(error)}`, remedy));
    } finally {
      built.close();
    }
  }
  return findings;
}

interface NodeCheck {
  readonly chain: ChainConfig;
  readonly hop: HopConfig;
  readonly node: NodeConfig;
  readonly nowMs: number;
}

async function checkNode({ chain, hop, node, nowMs }: NodeCheck): Promise<Finding[]> {
  const check = `${chain.name}/${node.name}`;
  const address = parseHostPort(node.addr);
  if (address === undefined) return [fail(check, `${node.addr} is not HOST:PORT`, "correct it")];
  const findings: Finding[] = [];
  const addresses = await checkName(check, address.host, findings);
  if (addresses === undefined) return findings;
  const way = wayText(addresses);
  if (node.dialer.type === "udp") {
    const text = `${node.addr} is UDP: only an answer to real questions shows that it is there`;
    return [...findings, note(check, text, "")];
  }
  const own = (key: string): string =>
    metaString(node.metadata, key) || metaString(hop.metadata, key);
  const device = own("interface");
  const marks = ["so_mark", "soMark"];
  const mark = metaInt(node.metadata, marks) || metaInt(hop.metadata, marks);
  const limit = new Deadline(DIAL_MS, []);
  const startMs = performance.now();
  try {
    const socket = await dialTcp({
      ...address,
      ...(device === "" ? {} : { device }),
      ...(mark > 0 ? { mark } : {}),
      signal: limit.signal,
      party: "proxy",
    });
    const ms = Math.round(performance.now() - startMs);
    findings.push(ok(check, `${node.addr} answers after ${ms} ms${way}`));
    if (!TLS_DIALERS.has(node.dialer.type)) {
      socket.destroy();
      return findings;
    }
    const name = node.dialer.tls?.serverName ?? address.host;
    const tls = connectTls({
      socket,
      rejectUnauthorized: false,
      ...(node.dialer.tls?.caFile === undefined
        ? {}
        : { ca: readFileSync(node.dialer.tls.caFile) }),
      ...(isIP(name) === 0 ? { servername: name } : {}),
    });
    const trouble = await handshake(tls, limit.signal);
    if (trouble === undefined) findings.push(judge(check, node, tls, nowMs));
    else findings.push(fail(check, `no TLS: ${trouble}`, NO_TLS_REMEDY));
    tls.destroy();
  } catch (error) {
    const remedy = "is the server running, its port open in the firewall, the address right?";
    findings.push(fail(check, `${node.addr}${way}: ${messageOf(error)}`, remedy));
  } finally {
    limit.end();
  }
  return findings;
}

async function checkName(
  check: string,
  host: string,
  findings: Finding[],
): Promise<readonly string[] | undefined> {
  if (isIP(host) !== 0) return [host];
  try {
    const addresses = await resolveHost(host);
    findings.push(ok(check, `${host} is ${addresses.join(", ")}`));
    return addresses;
  } catch (error) {
    const remedy = "look at /etc/resolv.conf, or write the server's address instead of its name";
    findings.push(fail(check, `${host} does not resolve: ${messageOf(error)}`, remedy));
    return undefined;
  }
}

/** By which device the kernel would go there without being told otherwise. */
function wayText(addresses: readonly string[]): string {
  const ip = parseIp(addresses[0] ?? "");
  if (ip === undefined) return "";
  try {
    const netlink = new Netlink(loadNative());
    const bytes = ip.bytes.subarray(0, ip.family === 4 ? 4 : 16);
    const { device } = netlink.routeTo({ dst: { family: ip.family, bytes } });
    const name = netlink.links().find(({ index }) => index === device)?.name;
    return name === undefined ? "" : ` (route by ${name})`;
  } catch (error) {
    if (error instanceof TsgostError) return ` (${messageOf(error)})`;
    throw error;
  }
}

/** Resolves with what went wrong, or undefined. */
function handshake(tls: TLSSocket, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve("no answer in time"), { once: true });
    tls.once("error", (error) => resolve(messageOf(error)));
    tls.once("secureConnect", () => resolve(undefined));
  });
}

function judge(check: string, node: NodeConfig, tls: TLSSocket, nowMs: number): Finding {
  const certificate: PeerCertificate = tls.getPeerCertificate();
  const until = new Date(certificate.valid_to);
  const from = new Date(certificate.valid_from);
  const days = Math.floor((until.getTime() - nowMs) / DAY_MS);
  const protocol = tls.getProtocol() ?? "TLS";
  if (from.getTime() > nowMs) {
    const text = `the certificate is valid only from ${certificate.valid_from}`;
    return fail(check, text, "is this machine's clock right?");
  }
  if (days < 0) {
    const text = `the certificate ended on ${certificate.valid_to}`;
    return fail(check, text, "renew it on the server");
  }
  const { tls: own } = node.dialer;
  const isPinned = own?.pin !== undefined;
  if (!tls.authorized && own?.secure === true && !isPinned) {
    const why = messageOf(tls.authorizationError);
    return fail(check, `${protocol}, the certificate does not hold: ${why}`, "caFile= or pin=");
  }
  if (!isPinned && own?.secure !== true) {
    const text = `${protocol}, certificate until ${certificate.valid_to}, and not verified`;
    const remedy = tls.authorized ? "add secure=true: it would hold" : "add pin= or caFile=";
    return note(check, text, remedy);
  }
  if (days < EXPIRY_DAYS) {
    return note(check, `${protocol}, the certificate ends in ${days} days`, "renew it soon");
  }
  return ok(check, `${protocol}, certificate until ${certificate.valid_to}`);
}
