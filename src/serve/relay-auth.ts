/**
 * Who may use a relay server. Comparison takes the same time for every password. A user without a
 * password would let everyone in (that is GOST's rule): it needs `auth.anyPassword=true`.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { metaBool } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { RelayAuth } from "../proto/relay.ts";

/** Answers whether the credentials are right; absent ones count as empty. */
export type Authenticator = (auth: RelayAuth | undefined) => boolean;

/**
 * undefined: everybody may. The configuration has collected users of files and authers in `auths`,
 * where an empty list means nobody. Throws a configuration error.
 */
export function authenticatorOf(service: ServiceConfig): Authenticator | undefined {
  const { handler, place } = service;
  const auths = handler.auths ?? (handler.auth === undefined ? undefined : [handler.auth]);
  if (auths === undefined) return undefined;
  const anyPassword = metaBool(handler.metadata, "auth.anyPassword", false);
  const users = new Map<string, string>();
  for (const { username, password } of auths) {
    if (username === "") continue;
    if (password === "" && !anyPassword) {
      const remedy = "give one, or allow every password with auth.anyPassword=true";
      throw configError(place, `user "${username}" has no password: ${remedy}`);
    }
    users.set(username, password);
  }
  return (given) => {
    const stored = users.get(given?.username ?? "");
    const isSame = equal(given?.password ?? "", stored ?? "");
    if (stored === undefined) return false;
    return stored === "" ? anyPassword : isSame;
  };
}

function equal(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}
