/**
 * The connector `http`: CONNECT (RFC 9110 §9.3.6) with Basic authentication, and GOST's UDP form of
 * it, whose stream carries datagrams framed as in SOCKS5 over TCP.
 *
 * Differences from GOST: any 2xx is success, bytes behind the head are kept, and refusals tell why
 * as far as the proxy said it (status, Proxy-Status of RFC 9209). The UDP form asks for 0.0.0.0:0,
 * for the frames name the destinations: a proxy that does not know the form cannot take it for a
 * connection.
 */
import { findMeta, metaDurationMs, metaMap, metaString } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import { joinHostPort } from "../config/net.ts";
import { configError } from "../errors.ts";
import {
  type HttpField,
  HttpFormatError,
  type ResponseHead,
  ResponseReader,
  encodeBasic,
  encodeHead,
  fieldOf,
  isFieldName,
  isFieldValue,
} from "../proto/http1.ts";
import { Deadline } from "./deadline.ts";
import { ChainError, type Party, abortError, asChainError } from "./errors.ts";
import { AssociationDatagrams } from "./relay-datagrams.ts";
import type {
  Connector,
  Endpoint,
  NodeContext,
  OpenTransport,
  Transport,
  UpDatagrams,
  Unreachable,
} from "./types.ts";

/** What Go's client says; some proxies look at it. */
const USER_AGENT = "Go-http-client/1.1";
/** 1xx answers before the one that counts. */
const INTERIM_MAX = 8;
/** Where a node sets no `timeout`: longer than any proxy dials. */
const TIMEOUT_MS = 120_000;

const noop = (): void => undefined;

export const httpConnector: Connector = {
  scheme: "http",
  prepare: (node) => {
    extraFields(node);
  },
  connect: (transport, node, destination, context) =>
    connectThrough(transport, node, { destination, udp: false }, context),
  datagrams: openHttpDatagrams,
};

interface HttpTarget {
  readonly destination: Endpoint;
  readonly udp: boolean;
}

/** `header` of the node: a map of texts; throws a configuration error. */
function extraFields(node: NodeConfig): HttpField[] {
  const { metadata } = node.connector;
  if (findMeta(metadata, ["header", "http.header"]) === undefined) return [];
  const fields = metaMap(metadata, ["header", "http.header"]);
  return Object.keys(fields).map((name) => {
    const text = metaString(fields, name);
    if (isFieldName(name) && isFieldValue(text)) return { name, value: text };
    throw configError(node.place, `header: ${JSON.stringify(name)} is not a field of HTTP`);
  });
}

function requestOf(node: NodeConfig, { destination, udp }: HttpTarget): Buffer {
  const authority = joinHostPort(destination.host, destination.port);
  const { auth } = node.connector;
  const fields: HttpField[] = [
    { name: "Host", value: authority },
    { name: "User-Agent", value: USER_AGENT },
  ];
  if (auth !== undefined && auth.username !== "") {
    fields.push({ name: "Proxy-Authorization", value: encodeBasic(auth) });
  }
  fields.push({ name: "Proxy-Connection", value: "keep-alive" });
  if (udp) fields.push({ name: "X-Gost-Protocol", value: "udp" });
  for (const extra of extraFields(node)) {
    const lower = extra.name.toLowerCase();
    const at = fields.findIndex(({ name }) => name.toLowerCase() === lower);
    if (at < 0) fields.push(extra);
    else fields[at] = extra;
  }
  return encodeHead(`CONNECT ${authority} HTTP/1.1`, fields);
}

/** Sends a CONNECT and waits for its answer; throws ChainError. */
async function connectThrough(
  transport: Transport,
  node: NodeConfig,
  target: HttpTarget,
  context: NodeContext,
): Promise<Transport> {
  const { host, port } = target.destination;
  // GOST's meaning of an empty host: the proxy's own machine.
  const destination = { host: host === "" ? "127.0.0.1" : host, port };
  const what = joinHostPort(destination.host, destination.port);
  // What an inner node cannot reach is the next node.
  const party: Party = context.inner === true || target.udp ? "proxy" : "destination";
  let request: Buffer;
  try {
    request = requestOf(node, { destination, udp: target.udp });
  } catch (error) {
    const message = `${JSON.stringify(host)} cannot stand in a request`;
    throw new ChainError(message, { reason: "host-unreachable", party, cause: error });
  }
  const ownMs = metaDurationMs(node.connector.metadata, "timeout", 0);
  const limit = new Deadline(ownMs > 0 ? ownMs : TIMEOUT_MS, [context.signal]);
  try {
    transport.write([request], noop);
    const head = await readResponse(transport, limit.signal, `${node.name}, CONNECT ${what}`);
    context.memory.hasAnswered = true;
    if (head.status < 300) return transport;
    throw refusal(head, node, what, party);
  } finally {
    limit.end();
  }
}

/** The first answer that is not 1xx; the transport is left detached, with what came behind it. */
function readResponse(
  transport: Transport,
  signal: AbortSignal,
  what: string,
): Promise<ResponseHead> {
  return new Promise<ResponseHead>((resolve, reject) => {
    let reader = new ResponseReader();
    let interim = 0;
    const settle = (): void => {
      signal.removeEventListener("abort", onAbort);
      transport.detach();
    };
    const fail = (error: unknown): void => {
      settle();
      reject(asProxyError(error, what));
    };
    const onAbort = (): void => {
      settle();
      reject(abortError(signal, "destination", what));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) {
      onAbort();
      return;
    }
    transport.attach({
      data: (chunk) => {
        try {
          let offset = 0;
          while (offset < chunk.length) {
            offset += reader.push(chunk.subarray(offset));
            const { head } = reader;
            if (head === undefined) return;
            if (head.status >= 200) {
              settle();
              transport.unshift(chunk.subarray(offset));
              resolve(head);
              return;
            }
            if (++interim > INTERIM_MAX) throw new HttpFormatError("too many 1xx answers");
            reader = new ResponseReader();
          }
        } catch (error) {
          fail(error);
        }
      },
      end: () => fail(new Error("the proxy closed the connection without an answer")),
      close: (error) => fail(error ?? new Error("the proxy closed the connection")),
    });
    transport.resume();
  });
}

function asProxyError(error: unknown, what: string): ChainError {
  if (!(error instanceof HttpFormatError)) {
    return asChainError(error, "proxy", what);
  }
  const message = `${what}: this is no answer of an HTTP proxy (${error.message})`;
  return new ChainError(message, { reason: "protocol", party: "proxy", cause: error });
}

/** RFC 9209 §2.3, as far as it tells more than the status. */
const BY_ERROR: Readonly<Record<string, Unreachable>> = {
  connection_refused: "refused",
  destination_ip_unroutable: "network-unreachable",
  destination_unavailable: "host-unreachable",
  destination_not_found: "host-unreachable",
  dns_error: "host-unreachable",
  dns_timeout: "host-unreachable",
  connection_timeout: "timeout",
  destination_ip_prohibited: "prohibited",
  http_request_denied: "prohibited",
};

const BY_STATUS: Readonly<Record<number, Unreachable>> = {
  400: "protocol",
  401: "auth",
  403: "prohibited",
  405: "protocol",
  407: "auth",
  451: "prohibited",
  // Of a destination that cannot be reached, a closed port is the likeliest (GOST: always 503).
  502: "refused",
  503: "refused",
  504: "timeout",
};

const ADVICE: Readonly<Partial<Record<Unreachable, string>>> = {
  auth: " (check the user name and password of the node)",
  protocol: " (is it a proxy that knows CONNECT?)",
};

function refusal(head: ResponseHead, node: NodeConfig, what: string, party: Party): ChainError {
  const { status } = head;
  const said = /;\s*error=([a-z_]+)/.exec(fieldOf(head, "proxy-status") ?? "")?.[1] ?? "";
  const reason = BY_ERROR[said] ?? BY_STATUS[status] ?? "closed";
  const isProxys = reason === "auth" || reason === "protocol";
  const text = `${status} ${head.reason}`.trim().slice(0, 80);
  const message = `${what}: ${node.name} answers ${text}${ADVICE[reason] ?? ""}`;
  return new ChainError(message, { reason, party: isProxys ? "proxy" : party });
}

/** A proxy without UDP is not asked again at once. */
const NO_UDP_MS = 30_000;

/** What a proxy says that does not know the UDP form, or must not use it. */
const NO_UDP: ReadonlySet<Unreachable> = new Set<Unreachable>([
  "prohibited",
  "protocol",
  "refused",
  "host-unreachable",
  "network-unreachable",
]);

/** Datagrams by GOST's UDP form; every other proxy refuses. Throws ChainError. */
async function openHttpDatagrams(
  open: OpenTransport,
  node: NodeConfig,
  context: NodeContext,
): Promise<UpDatagrams> {
  const { memory } = context;
  if (performance.now() < memory.noAssociationUntilMs) {
    const message = `node ${node.name} refused UDP a moment ago`;
    throw new ChainError(message, { reason: "prohibited", party: "proxy" });
  }
  const transport = await open(context.signal);
  try {
    const target = { destination: { host: "0.0.0.0", port: 0 }, udp: true };
    return new AssociationDatagrams(await connectThrough(transport, node, target, context));
  } catch (error) {
    transport.reset();
    const failure = asChainError(error, "proxy", `node ${node.name}`);
    if (!NO_UDP.has(failure.reason)) throw failure;
    memory.noAssociationUntilMs = performance.now() + NO_UDP_MS;
    const message =
      `node ${node.name} carries no UDP: HTTP has none, except GOST's servers with udp=true ` +
      `(${failure.message})`;
    throw new ChainError(message, { reason: "prohibited", party: "proxy", cause: failure });
  }
}
