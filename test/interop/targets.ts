/** Where flows lead to, one behaviour a port, on 127.0.0.1. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Target, echoTarget } from "../chain/world.ts";
import { freePort, udpEcho } from "./peer.ts";

export interface Targets {
  /** Sends back what comes, ends when the other side does. */
  readonly echo: number;
  /** Speaks first. */
  readonly banner: number;
  /** Answers after the other side's end. */
  readonly halfClose: number;
  /** One short line, then the end. */
  readonly brief: number;
  /** Takes all, then answers with its sha256. */
  readonly sink: number;
  /** Nobody listens. */
  readonly closed: number;
  readonly udp: number;
  /** An HTTP server that tells path and Host of a request. */
  readonly web: number;
  /** sha256 of what the sink got last. */
  sunk(): string;
  close(): void;
}

export async function openTargets(): Promise<Targets> {
  const echo = echoTarget();
  const banner = new Target((socket) => {
    socket.write("220 hi\r\n");
    socket.on("data", (chunk: Buffer) => socket.write(`250 ${chunk.toString()}`));
    socket.on("end", () => socket.end());
  });
  const halfClose = new Target((socket) => {
    let got = "";
    socket.on("data", (chunk: Buffer) => (got += chunk.toString()));
    socket.on("end", () => setTimeout(() => socket.end(`got ${got}`), 100));
  });
  const brief = new Target((socket) => socket.end("done\n"));
  let digest = "";
  const sink = new Target((socket) => {
    const hash = createHash("sha256");
    socket.on("data", (chunk: Buffer) => hash.update(chunk));
    socket.on("end", () => {
      digest = hash.digest("hex");
      socket.end(digest);
    });
  });
  const udp = await udpEcho();
  const web = createServer((request, response) => {
    const body = `${request.url ?? ""} ${request.headers.host ?? ""}`;
    response.writeHead(200, { "content-length": body.length }).end(body);
  });
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  const targets = [echo, banner, halfClose, brief, sink];
  return {
    echo: await echo.listen(),
    banner: await banner.listen(),
    halfClose: await halfClose.listen(),
    brief: await brief.listen(),
    sink: await sink.listen(),
    closed: await freePort(),
    udp: udp.port,
    web: (web.address() as AddressInfo).port,
    sunk: () => digest,
    close: () => {
      for (const target of targets) target.close();
      udp.close();
      web.close();
      web.closeAllConnections();
    },
  };
}
