/**
 * Probe resistance: who does not know the password sees a web server. Everything goes by the
 * service's own way out.
 */
import { open } from "node:fs/promises";
import { joinHostPort, parseHostPort } from "../config/net.ts";
import { encodeHead, parseHttpUrl } from "../proto/http1.ts";
import { type HttpSession, routeContext } from "./http-session.ts";
import { encodeStatus } from "./http-reply.ts";
import { pipe } from "./relay-pipe.ts";
import { DIAL_MS, dialWhileOpen, sayAndClose } from "./session.ts";

const FILE_BYTES_MAX = 1024 * 1024;

const noop = (): void => undefined;

/** Answers as the configured web server would, and closes. Never throws. */
export async function answerProbe(session: HttpSession): Promise<void> {
  const { transport, settings } = session;
  const { probe } = settings;
  const common = [
    { name: "Server", value: "nginx/1.20.1" },
    { name: "Date", value: new Date(performance.timeOrigin + performance.now()).toUTCString() },
  ];
  try {
    if (probe?.type === "host" || probe?.type === "web") {
      await relayProbe(session, probe.type, probe.value);
      return;
    }
    if (probe?.type === "file") {
      const body = await readSmall(probe.value);
      const fields = [
        ...common,
        { name: "Content-Type", value: "text/html" },
        { name: "Content-Length", value: String(body.length) },
        { name: "Connection", value: "close" },
      ];
      sayAndClose(transport, Buffer.concat([encodeStatus(200, fields), body]));
      return;
    }
  } catch {
    // What cannot be shown looks like a server that is down.
  }
  const status = probe?.type === "code" ? Number(probe.value) : 503;
  const fields = [...common, { name: "Content-Length", value: "0" }];
  sayAndClose(transport, encodeStatus(status, [...fields, { name: "Connection", value: "close" }]));
}

/** Gives the connection, request included, to another server. */
async function relayProbe(
  session: HttpSession,
  type: "host" | "web",
  value: string,
): Promise<void> {
  const { transport, head, settings, router, stopped } = session;
  const url = type === "web" ? parseHttpUrl(value, "GET") : undefined;
  const target = url ?? parseHostPort(value);
  if (target === undefined) throw new Error("no target");
  const request =
    url === undefined
      ? encodeHead(`${head.method} ${head.target} HTTP/1.${head.minor}`, head.fields)
      : encodeHead(`GET ${url.path} HTTP/1.1`, [
          { name: "Host", value: joinHostPort(url.host, url.port) },
          { name: "Connection", value: "close" },
        ]);
  const limit = { ms: DIAL_MS, outer: stopped };
  const { stream, hasEnded } = await dialWhileOpen(transport, limit, (signal) =>
    router.connect({ host: target.host, port: target.port }, routeContext(session, signal)),
  );
  stream.write([request], noop);
  await pipe(transport, stream, hasEnded, settings.idleMs || 60_000);
}

async function readSmall(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const bytes = Buffer.alloc(FILE_BYTES_MAX);
    const { bytesRead } = await file.read(bytes, 0, FILE_BYTES_MAX, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
