/**
 * Web and name servers for tests with ordinary tools, started inside the internet's namespace:
 * HTTP, HTTPS with a throw-away certificate made by openssl, and DNS over UDP and TCP on port 5353.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTls } from "node:https";
import { createServer as createTcp } from "node:net";
import { join } from "node:path";
import { runChild } from "../../src/commands/demo/children.ts";
import { answerDns } from "../../src/commands/demo/names.ts";

const DNS_PORT = 5353;

export interface WebOptions {
  readonly hosts: readonly string[];
  readonly httpPort: number;
  readonly httpsPort: number;
  /** Where key and certificate may be written. */
  readonly folder: string;
}

async function certificate(folder: string): Promise<{ key: Buffer; cert: Buffer } | undefined> {
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", "/CN=web.test", "-days", "2", "-keyout", key, "-out", cert];
  const { code } = await runChild(["openssl", "req", ...kind, ...names]);
  return code === 0 ? { key: readFileSync(key), cert: readFileSync(cert) } : undefined;
}

/** DNS over TCP: a length of two bytes before each message (RFC 1035 §4.2.2). */
function tcpNames(names: Record<string, string[]>): ReturnType<typeof createTcp> {
  return createTcp((socket) => {
    let held = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        const end = 2 + held.readUInt16BE(0);
        const answer = answerDns(held.subarray(2, end), names);
        held = held.subarray(end);
        if (answer === undefined) continue;
        const head = Buffer.alloc(2);
        head.writeUInt16BE(answer.length);
        socket.write(Buffer.concat([head, answer]));
      }
    });
  });
}

export async function serveWeb(options: WebOptions): Promise<void> {
  const pair = await certificate(options.folder);
  const names = { "web.test": [...options.hosts] };
  for (const host of options.hosts) {
    const http = createServer((_, response) => response.end("page\n"));
    http.listen({ host, port: options.httpPort, backlog: 1024 });
    const tcp = tcpNames(names).listen(DNS_PORT, host);
    const waits: Promise<unknown>[] = [once(http, "listening"), once(tcp, "listening")];
    if (pair !== undefined) {
      const https = createTls(pair, (_, response) => response.end("secret page\n"));
      waits.push(once(https.listen(options.httpsPort, host), "listening"));
    }
    const udp = createSocket(host.includes(":") ? "udp6" : "udp4");
    udp.on("message", (query, from) => {
      const answer = answerDns(query, names);
      if (answer !== undefined) udp.send(answer, from.port, from.address);
    });
    waits.push(once(udp.bind(DNS_PORT, host), "listening"));
    await Promise.all(waits);
  }
}
