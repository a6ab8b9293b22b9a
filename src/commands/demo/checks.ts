/** The checks of the demo: each does one thing as a user of the client machine would. */
import { contentHash } from "./content.ts";
import type * as clients from "./clients.ts";
import type { Namespace } from "./namespace.ts";
import { fail, gbits, msText, sizeText, type Report } from "./report.ts";
import { PLACES, PORTS } from "./world.ts";

export const NAME = "demo.test";

const CLIENTS = new URL(import.meta.url.replace(/checks\.([tj]s)$/, "clients.$1")).href;
const PARALLEL = 200;
const UDP_SIZES = [1, 512, 1200, 1372, 4097, 9000];
/** More than the local network needs, far less than any of tsgost's own deadlines. */
const REFUSED_WITHIN_MS = 2_000;
const CONNECT_TIMEOUT_MS = 20_000;

type Clients = typeof clients;

/** Calls a function of clients.ts in a namespace. */
export function ask<K extends keyof Clients>(
  namespace: Namespace,
  name: K,
  ...args: Clients[K] extends (...all: infer A) => unknown ? A : never
): Promise<Clients[K] extends (...all: never[]) => Promise<infer R> ? R : never> {
  return namespace.call(CLIENTS, name, ...args) as Promise<never>;
}

export interface CheckContext {
  readonly report: Report;
  readonly client: Namespace;
  readonly bigBytes: number;
}

const webUrl = (host: string): string => `http://${host.includes(":") ? `[${host}]` : host}`;

async function expectPage(client: Namespace, host: string): Promise<string> {
  const { text, error, ms } = await ask(client, "page", `${webUrl(host)}/`);
  if (error !== "") fail(error);
  if (!text.startsWith("hello from the internet")) fail(`unexpected page: ${text.slice(0, 60)}`);
  return msText(ms);
}

async function expectName(client: Namespace, server: string): Promise<string> {
  const a = await ask(client, "resolve", server, NAME, "A");
  const aaaa = await ask(client, "resolve", server, NAME, "AAAA");
  for (const one of [a, aaaa]) if (one.error !== "") fail(one.error);
  const found = [...a.addresses, ...aaaa.addresses].join(", ");
  const wanted = [PLACES.web4, PLACES.web6].join(", ");
  if (found !== wanted) fail(`${NAME} is ${found || "nothing"}, not ${wanted}`);
  return `${NAME} = ${found} (${a.tool}, ${msText(a.ms)})`;
}

async function expectEcho(client: Namespace, host: string): Promise<string> {
  const { missing, ms, error } = await ask(client, "udpEcho", host, PORTS.echo, UDP_SIZES);
  if (error !== "") fail(error);
  if (missing.length > 0) fail(`no echo of ${missing.join(", ")} bytes`);
  return `${UDP_SIZES.length} datagrams of 1 … ${UDP_SIZES.at(-1) ?? 0} bytes (${msText(ms)})`;
}

export async function expectOutcome(
  client: Namespace,
  [host, port]: readonly [string, number],
  [outcome, withinMs]: readonly [string, number],
): Promise<string> {
  const seen = await ask(client, "tryConnect", host, port, CONNECT_TIMEOUT_MS);
  if (seen.outcome !== outcome) fail(`${seen.outcome} after ${msText(seen.ms)}, not ${outcome}`);
  if (seen.ms > withinMs) fail(`${outcome}, but only after ${msText(seen.ms)}`);
  return `${seen.outcome} after ${msText(seen.ms)}`;
}

function equalHash(transfer: clients.Transfer, bytes: number, sha256: string): string {
  if (transfer.error !== "") fail(transfer.error);
  if (transfer.bytes !== bytes) fail(`${transfer.bytes} of ${bytes} bytes`);
  if (transfer.sha256 !== sha256) fail(`sha256 ${transfer.sha256}, not ${sha256}`);
  const speed = `${gbits(bytes, transfer.ms)} in ${msText(transfer.ms)}`;
  return `${sizeText(bytes)}, ${speed}, sha256 ${sha256.slice(0, 12)}… equal (${transfer.tool})`;
}

export async function checkDownload(context: CheckContext, sha256: string): Promise<void> {
  const { report, client, bigBytes } = context;
  await report.check("download", async () => {
    const seen = await ask(client, "download", `${webUrl(PLACES.web4)}/big`);
    return { text: equalHash(seen, bigBytes, sha256) };
  });
}

export async function checkTransfers(context: CheckContext, sha256: string): Promise<void> {
  const { report, client, bigBytes } = context;
  await checkDownload(context, sha256);
  await report.check("upload", async () => {
    const seen = await ask(client, "upload", `${webUrl(PLACES.web4)}/upload`, bigBytes);
    return { text: equalHash(seen, bigBytes, sha256) };
  });
  await report.check("part of a file, over IPv6", async () => {
    const from = Math.floor(bigBytes / 3);
    const to = Math.min(from + 10_000_001, bigBytes);
    const url = `${webUrl(PLACES.web6)}/big`;
    const [seen, part] = await Promise.all([
      ask(client, "download", url, `${from}-${to - 1}`),
      contentHash(from, to),
    ]);
    return { text: equalHash(seen, to - from, part) };
  });
}

/** Pages, names, datagrams and two hundred requests at once. */
export async function checkServices({ report, client }: CheckContext): Promise<void> {
  await report.check("web page over IPv4", async () => ({
    text: await expectPage(client, PLACES.web4),
  }));
  await report.check("web page over IPv6", async () => ({
    text: await expectPage(client, PLACES.web6),
  }));
  await report.check("DNS over IPv4", async () => ({
    text: await expectName(client, PLACES.dns4),
  }));
  await report.check("DNS over IPv6", async () => ({
    text: await expectName(client, PLACES.dns6),
  }));
  await report.check("UDP echo over IPv4", async () => ({
    text: await expectEcho(client, PLACES.web4),
  }));
  await report.check("UDP echo over IPv6", async () => ({
    text: await expectEcho(client, PLACES.web6),
  }));
  await report.check(`${PARALLEL} requests at once`, async () => {
    const seen = await ask(client, "parallel", `${webUrl(PLACES.web4)}/page`, PARALLEL);
    if (seen.good !== PARALLEL) fail(`${seen.good} of ${PARALLEL} came back: ${seen.error}`);
    return { text: `all answered in ${msText(seen.ms)}` };
  });
}

/** What cannot be reached is told as what it is. */
export async function checkTruth({ report, client }: CheckContext): Promise<void> {
  for (const [family, host] of [
    ["IPv4", PLACES.web4],
    ["IPv6", PLACES.web6],
  ] as const) {
    await report.check(`closed port over ${family} is refused`, async () => ({
      text: await expectOutcome(client, [host, PORTS.closed], ["ECONNREFUSED", REFUSED_WITHIN_MS]),
    }));
  }
  await report.check("unreachable host is reported", async () => ({
    text: await expectOutcome(
      client,
      [PLACES.unreachable4, PORTS.web],
      ["EHOSTUNREACH", REFUSED_WITHIN_MS],
    ),
  }));
}

/** Without a proxy a ping is a real one. */
export async function checkPings({ report, client }: CheckContext): Promise<void> {
  for (const host of [PLACES.web4, PLACES.web6]) {
    await report.check(`ping ${host}`, async () => {
      const seen = await ask(client, "ping", host, 3);
      if (seen === undefined) return { text: "skipped: there is no ping here" };
      if (seen.replies !== 3) fail(`${seen.replies} of 3 replies ${seen.text}`);
      return { text: `3 of 3 replies, ${seen.text}` };
    });
  }
  for (const host of [PLACES.dead4, PLACES.dead6]) {
    await report.check(`ping ${host}, a dead host`, async () => {
      const seen = await ask(client, "ping", host, 2);
      if (seen === undefined) return { text: "skipped: there is no ping here" };
      if (seen.replies !== 0) fail(`${seen.replies} replies from a host that is dead`);
      return { text: "no reply, as it should be" };
    });
  }
}
