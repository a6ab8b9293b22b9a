/**
 * CONNECT over a transport to a relay server, truthfully also through servers
 * that keep their reply until the target speaks (GOST's default).
 *
 * The request goes out at once. Failures are answered at once by every server, so a grace time
 * without a reply means success, or a dial that still runs. Servers that were seen to answer OK
 * before the target spoke are waited for in full, as with `nodelay=true`.
 */
import { metaBool, metaDurationMs } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import {
  CAUSE_HOST_UNREACHABLE,
  CAUSE_NETWORK_UNREACHABLE,
  CAUSE_REFUSED,
  CAUSE_TIMEOUT,
  CMD_CONNECT,
  NETWORK_UDP,
  type RelayAuth,
  type RelayReply,
  STATUS_BAD_REQUEST,
  STATUS_FORBIDDEN,
  STATUS_HOST_UNREACHABLE,
  STATUS_NETWORK_UNREACHABLE,
  STATUS_SERVICE_UNAVAILABLE,
  STATUS_TIMEOUT,
  STATUS_UNAUTHORIZED,
  encodeRequest,
  statusText,
} from "../proto/relay.ts";
import { joinHostPort } from "../config/net.ts";
import { ChainError, abortError } from "./errors.ts";
import { type Answer, ReplyStream } from "./reply-stream.ts";
import type { Endpoint, NodeContext, Transport, Unreachable } from "./types.ts";

const GRACE_BASE_MS = 250;
/** Until a round trip was measured. */
const RTT_GUESS_MS = 100;

const noop = (): void => undefined;

export interface RelayTarget {
  readonly destination: Endpoint;
  readonly udp: boolean;
}

/** The credentials of a node; undefined without a user name, as GOST sends none then. */
export function nodeAuth(node: NodeConfig): RelayAuth | undefined {
  const { auth } = node.connector;
  if (auth === undefined || auth.username === "") return undefined;
  return { username: auth.username, password: auth.password };
}

const BY_CAUSE: Readonly<Record<number, Unreachable>> = {
  [CAUSE_REFUSED]: "refused",
  [CAUSE_HOST_UNREACHABLE]: "host-unreachable",
  [CAUSE_NETWORK_UNREACHABLE]: "network-unreachable",
  [CAUSE_TIMEOUT]: "timeout",
};

const BY_STATUS: Readonly<Record<number, Unreachable>> = {
  [STATUS_BAD_REQUEST]: "protocol",
  [STATUS_UNAUTHORIZED]: "auth",
  [STATUS_FORBIDDEN]: "prohibited",
  [STATUS_TIMEOUT]: "timeout",
  [STATUS_SERVICE_UNAVAILABLE]: "refused",
  [STATUS_HOST_UNREACHABLE]: "host-unreachable",
  // GOST says this for every failed dial; a closed port is the likeliest.
  [STATUS_NETWORK_UNREACHABLE]: "refused",
};

/** The error of a reply that is not OK. */
export function replyError(reply: RelayReply, node: NodeConfig, what: string): ChainError {
  const { status, cause } = reply;
  const reason =
    (cause === undefined ? undefined : BY_CAUSE[cause]) ?? BY_STATUS[status] ?? "closed";
  const party = reason === "auth" || reason === "protocol" ? "proxy" : "destination";
  let advice = "";
  if (reason === "auth") advice = " (check the user name and password of the node)";
  if (reason === "protocol") advice = " (the server did not understand the request)";
  const message = `${what}: ${node.name} answers ${status} ${statusText(status)}${advice}`;
  return new ChainError(message, { reason, party });
}

/** Sends a CONNECT and waits as long as truth demands; throws ChainError. */
export async function relayConnect(
  transport: Transport,
  node: NodeConfig,
  target: RelayTarget,
  context: NodeContext,
): Promise<Transport> {
  const { destination, udp } = target;
  const what = joinHostPort(destination.host, destination.port);
  const auth = nodeAuth(node);
  const withNetwork = udp && metaBool(node.connector.metadata, "relay.network", false);
  const request = encodeRequest({
    command: CMD_CONNECT,
    udp,
    address: destination,
    ...(withNetwork ? { network: NETWORK_UDP } : {}),
    ...(auth === undefined ? {} : { auth }),
  });
  transport.write([request], noop);
  // What an inner node cannot reach is the next node.
  const isInner = context.inner === true && !udp;
  const stream = new ReplyStream(transport, node.addr, (reply) => {
    const error = replyError(reply, node, what);
    if (!isInner) return error;
    return new ChainError(error.message, { reason: error.reason, party: "proxy" });
  });
  const { memory } = context;
  const nodelay = metaBool(node.connector.metadata, "nodelay", false);
  if (context.inner === true && !nodelay) {
    watchLate(stream, context);
    return stream;
  }
  const waitMs = nodelay || memory.answersEarly ? limitMs(node) : graceMs(node, context);
  try {
    const answer = await answerWithin(stream, waitMs, context.signal, what);
    if (answer === undefined) {
      if (nodelay) throw timeoutError(what);
      memory.answersEarly = false;
      watchLate(stream, context);
      return stream;
    }
    memory.hasAnswered = true;
    if (answer.isAlone && !udp) memory.answersEarly = true;
    return stream.unwrap();
  } catch (error) {
    if (error instanceof ChainError && error.reason === "timeout") memory.answersEarly = false;
    stream.reset();
    throw error;
  }
}

function limitMs(node: NodeConfig): number {
  return metaDurationMs(node.connector.metadata, "connectTimeout", 0);
}

function graceMs(node: NodeConfig, context: NodeContext): number {
  const usual = 2 * (context.memory.rttMs ?? RTT_GUESS_MS) + GRACE_BASE_MS;
  return Math.max(1, metaDurationMs(node.connector.metadata, "relay.grace", usual));
}

function timeoutError(what: string): ChainError {
  const message = `${what}: the server did not answer in time`;
  return new ChainError(message, { reason: "timeout", party: "destination" });
}

/** The answer; undefined when `waitMs` (0 = no limit of its own) passed without one. */
function answerWithin(
  stream: ReplyStream,
  waitMs: number,
  signal: AbortSignal,
  what: string,
): Promise<Answer | undefined> {
  return new Promise<Answer | undefined>((resolve, reject) => {
    const timer =
      waitMs > 0
        ? setTimeout(() => {
            settle();
            resolve(undefined);
          }, waitMs)
        : undefined;
    const onAbort = (): void => {
      settle();
      reject(abortError(signal, "destination", what));
    };
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    stream.answer.then(
      (answer) => {
        settle();
        resolve(answer);
      },
      (error: unknown) => {
        settle();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}

/** A reply that comes after the stream was handed out still teaches, and its failure is logged. */
function watchLate(stream: ReplyStream, context: NodeContext): void {
  const { memory } = context;
  stream.believe();
  stream.answer.then(
    (answer) => {
      memory.hasAnswered = true;
      if (answer.isAlone && !stream.hasWritten) memory.answersEarly = true;
    },
    (error: unknown) => {
      if (!(error instanceof ChainError) || error.party !== "proxy") return;
      if (error.reason === "closed" && memory.hasAnswered) return;
      context.log.once(`relay ${error.code} ${error.message}`, 60_000, { message: error.message });
    },
  );
}
