/**
 * Users and passwords that are not written in the configuration: the first line of a file that is
 * no comment (`user [password]`), or a variable TSGOST_AUTH_… with `user[:password]`. Argv and
 * configuration files are seen by more people than these.
 */
import { readFileSync, statSync } from "node:fs";
import { codeOf, configError, messageOf } from "../errors.ts";
import type { Auth, Place } from "./model.ts";

export const AUTH_VARIABLE_PREFIX = "TSGOST_AUTH_";

const FILE_BYTES_MAX = 64 * 1024;

export interface Resolved {
  readonly auth: Auth;
  readonly warning?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The auth with user and password in place; throws TsgostError (exit code 2). */
export function resolveAuth(auth: Auth, place: Place, environment: Environment): Resolved {
  if (auth.env !== undefined) return { auth: fromEnvironment(auth, auth.env, place, environment) };
  if (auth.file !== undefined) return fromFile(auth, auth.file, place);
  return { auth };
}

function fromEnvironment(auth: Auth, name: string, place: Place, environment: Environment): Auth {
  const bare = name.startsWith(AUTH_VARIABLE_PREFIX)
    ? name.slice(AUTH_VARIABLE_PREFIX.length)
    : name;
  const variable = AUTH_VARIABLE_PREFIX + bare.toUpperCase().replace(/[^A-Z0-9]/g, "_");
  const value = environment[variable] ?? "";
  if (value === "") {
    throw configError(place, `authEnv: the variable ${variable} is not set (user:password)`);
  }
  const colon = value.indexOf(":");
  const username = colon < 0 ? value : value.slice(0, colon);
  return merge(auth, username, colon < 0 ? "" : value.slice(colon + 1));
}

/** What the configuration says beside the file stays, unless it is empty. */
function merge(auth: Auth, username: string, password: string): Auth {
  return { username: auth.username || username, password: auth.password || password };
}

function fromFile(auth: Auth, path: string, place: Place): Resolved {
  const text = readBounded(path, place);
  const line = text.split(/\r?\n/).find((candidate) => /^\s*[^\s#]/.test(candidate));
  if (line === undefined) {
    throw configError(place, `authFile: ${path} has no line "user password"`);
  }
  const match = /^\s*(\S+)\s*(.*?)\s*$/.exec(line);
  const resolved = merge(auth, match?.[1] ?? "", match?.[2] ?? "");
  if (!isOpen(path)) return { auth: resolved };
  const warning = `authFile: ${path} can be read by everybody; chmod 600 it`;
  return { auth: resolved, warning };
}

function readBounded(path: string, place: Place): string {
  try {
    if (statSync(path).size > FILE_BYTES_MAX) {
      throw configError(place, `authFile: ${path} is larger than ${FILE_BYTES_MAX} bytes`);
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "TSGOST_ERR_CONFIG") throw error;
    const why = codeOf(error) === "ENOENT" ? "no such file" : messageOf(error);
    throw configError(place, `authFile: ${path}: ${why}`, error);
  }
}

function isOpen(path: string): boolean {
  if (process.platform === "win32") return false;
  return (statSync(path).mode & 0o004) !== 0;
}
