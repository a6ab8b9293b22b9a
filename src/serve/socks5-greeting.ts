/**
 * How a client of SOCKS5 introduces itself: method, TLS inside, user and password (RFC 1928 §3,
 * RFC 1929). The choice of methods is GOST's, except that TLS inside a listener that encrypts is
 * only for clients that offer nothing else.
 */
import { readMessage } from "../chain/read-message.ts";
import type { Transport } from "../chain/types.ts";
import {
  METHOD_NONE,
  METHOD_PASSWORD,
  METHOD_REFUSED,
  METHOD_TLS,
  METHOD_TLS_PASSWORD,
  encodeMethod,
  encodePasswordStatus,
  greetingReader,
  passwordReader,
} from "../proto/socks5.ts";
import type { Authenticator } from "../types.ts";
import type { Socks5Settings } from "./socks5-settings.ts";
import type { InnerTls } from "./tls-inner.ts";

const noop = (): void => undefined;

export interface Host {
  readonly settings: Socks5Settings;
  readonly authenticator: Authenticator | undefined;
  readonly tls: InnerTls;
}

/** Nothing that was offered is acceptable, or the password is wrong; it was said already. */
export class Unwelcome extends Error {
  /** The transport that is to be closed. */
  readonly transport: Transport;
  readonly isPassword: boolean;

  constructor(message: string, transport: Transport, isPassword: boolean) {
    super(message);
    this.transport = transport;
    this.isPassword = isPassword;
  }
}

/** The methods that are welcome, the best first. */
export function welcomeMethods(
  tls: Socks5Settings["tls"],
  wantsPassword: boolean,
): readonly number[] {
  const plain = wantsPassword ? METHOD_PASSWORD : METHOD_NONE;
  const inside = wantsPassword ? METHOD_TLS_PASSWORD : METHOD_TLS;
  if (tls === "never") return [plain];
  return tls === "first" ? [inside, plain] : [plain, inside];
}

function chooseMethod(offered: Uint8Array, clientIp: string, host: Host): number {
  const { settings, authenticator } = host;
  const wanted = welcomeMethods(settings.tls, authenticator !== undefined);
  // Clients that may come without a password are not asked for one that they do not offer.
  const isFree = authenticator?.accepts(undefined, clientIp) === true;
  const more = isFree ? welcomeMethods(settings.tls, false) : [];
  return [...wanted, ...more].find((method) => offered.includes(method)) ?? METHOD_REFUSED;
}

/** Answers the transport on which the request comes, and who it is. */
export async function greet(
  transport: Transport,
  clientIp: string,
  host: Host,
  signal: AbortSignal,
): Promise<{ transport: Transport; user: string | undefined }> {
  const offered = await readMessage(transport, greetingReader(), signal);
  // GOST closes without a word, too.
  if (offered.length === 0) throw new Error("a greeting without methods");
  const method = chooseMethod(offered, clientIp, host);
  transport.write([encodeMethod(method)], noop);
  if (method === METHOD_REFUSED) {
    throw new Unwelcome("no method in common", transport, false);
  }
  const isTls = method === METHOD_TLS || method === METHOD_TLS_PASSWORD;
  const inner = isTls ? await host.tls.accept(transport, signal) : transport;
  if (method === METHOD_NONE || method === METHOD_TLS) return { transport: inner, user: undefined };
  const given = await readMessage(inner, passwordReader(), signal);
  const isRight = host.authenticator?.accepts(given, clientIp) === true;
  inner.write([encodePasswordStatus(isRight)], noop);
  if (!isRight) throw new Unwelcome("wrong user name or password", inner, true);
  return { transport: inner, user: given.username };
}
