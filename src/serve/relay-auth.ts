/**
 * Who may use a relay server. Comparison takes the same time for every password. A user without a
 * password would let everyone in (that is GOST's rule): it needs `auth.anyPassword=true`.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { metaBool } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { configError, messageOf } from "../errors.ts";
import type { RelayAuth } from "../proto/relay.ts";

const USERS_MAX = 100_000;

/** Answers whether the credentials are right; absent ones count as empty. */
export type Authenticator = (auth: RelayAuth | undefined) => boolean;

/** undefined: everybody may. Throws a configuration error. */
export function authenticatorOf(service: ServiceConfig): Authenticator | undefined {
  const { handler, place } = service;
  if (handler.auther !== undefined && handler.auther !== "") {
    throw configError(place, `auther "${handler.auther}": authers are not supported, use auth`);
  }
  const { auth } = handler;
  if (auth === undefined) return undefined;
  const users = new Map<string, string>();
  if (auth.file !== undefined && auth.file !== "") readUsers(auth.file, users, place);
  if (auth.username !== "") users.set(auth.username, auth.password);
  if (users.size === 0) throw configError(place, "auth has no user");
  const anyPassword = metaBool(handler.metadata, "auth.anyPassword", false);
  for (const [name, password] of users) {
    if (password !== "" || anyPassword) continue;
    const remedy = "give one, or allow every password with auth.anyPassword=true";
    throw configError(place, `user "${name}" has no password: ${remedy}`);
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

/** Lines `user [password]`; `#` in the first column is a comment. */
function readUsers(file: string, users: Map<string, string>, place: string): void {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw configError(place, `auth.file: cannot read ${file}: ${messageOf(error)}`, error);
  }
  for (const line of text.split(/\r?\n/)) {
    const plain = line.replaceAll("\t", " ").trim();
    if (plain === "" || line.startsWith("#")) continue;
    const space = plain.indexOf(" ");
    const name = space < 0 ? plain : plain.slice(0, space);
    users.set(name, space < 0 ? "" : plain.slice(space + 1).trim());
    if (users.size > USERS_MAX) throw configError(place, `auth.file: ${file} has too many users`);
  }
}
