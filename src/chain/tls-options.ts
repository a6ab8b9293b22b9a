/**
 * What TLS clients and servers have in common: versions and cipher suites under Go's names, files
 * that the configuration names, and noticing that such files were replaced.
 */
import { readFileSync, statSync } from "node:fs";
import {
  DEFAULT_CIPHERS,
  type SecureContextOptions,
  type SecureVersion,
  getCiphers,
} from "node:tls";
import { configError, messageOf } from "../errors.ts";
import type { TlsConfig } from "../config/model.ts";

const VERSIONS: Readonly<Record<string, SecureVersion>> = {
  "10": "TLSv1",
  "11": "TLSv1.1",
  "12": "TLSv1.2",
  "13": "TLSv1.3",
};

/** `VersionTLS12`, `TLSv1.2` or `1.2`. */
export function tlsVersion(text: string, place: string): SecureVersion {
  const version = VERSIONS[text.replace(/^(version)?tls(v)?/i, "").replace(".", "")];
  if (version !== undefined) return version;
  throw configError(place, `TLS version "${text}" is unknown (VersionTLS12, VersionTLS13)`);
}

/** Go always offers these; they cannot be chosen. */
const SUITES_13 = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
];

const BULK: Readonly<Record<string, string>> = {
  AES_128_CBC_SHA: "AES128-SHA",
  AES_256_CBC_SHA: "AES256-SHA",
  AES_128_CBC_SHA256: "AES128-SHA256",
  AES_128_GCM_SHA256: "AES128-GCM-SHA256",
  AES_256_GCM_SHA384: "AES256-GCM-SHA384",
  CHACHA20_POLY1305: "CHACHA20-POLY1305",
  CHACHA20_POLY1305_SHA256: "CHACHA20-POLY1305",
};

/** A suite of TLS 1.2 in OpenSSL's spelling; undefined if there is none of that name. */
function opensslName(suite: string): string | undefined {
  const match = /^TLS_(?:ECDHE_(RSA|ECDSA)|RSA)_WITH_(.+)$/.exec(suite.toUpperCase());
  const bulk = BULK[match?.[2] ?? ""];
  const name =
    match === null
      ? suite
      : bulk === undefined
        ? ""
        : match[1] === undefined
          ? bulk
          : `ECDHE-${match[1]}-${bulk}`;
  return getCiphers().includes(name.toLowerCase()) ? name : undefined;
}

/**
 * The suites of TLS 1.2 that are named, by Go's or OpenSSL's names, and all of TLS 1.3. Throws a
 * configuration error for others.
 */
export function cipherList(suites: readonly string[], place: string): string {
  const named = suites
    .filter((suite) => !SUITES_13.includes(suite.toUpperCase()))
    .map((suite) => {
      const name = opensslName(suite);
      if (name !== undefined) return name;
      const example = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
      throw configError(place, `cipher suite "${suite}" is not there (a name is ${example})`);
    });
  return [...SUITES_13, ...named].join(":");
}

/** Reads a file that the configuration names; throws a configuration error. */
export function readPem(file: string, key: string, place: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw configError(place, `${key}: cannot read ${file}: ${messageOf(error)}`, error);
  }
}

/** Versions, suites and files of client or server as Node wants them. */
export function secureOptions(tls: TlsConfig, place: string): SecureContextOptions {
  const { certFile = "", keyFile = "", caFile = "" } = tls;
  if ((certFile === "") !== (keyFile === "")) {
    throw configError(place, "certFile and keyFile belong together: one of them is missing");
  }
  return {
    ...protocolOptions(tls, place),
    ...(caFile === "" ? {} : { ca: readPem(caFile, "caFile", place) }),
    ...(certFile === "" ? {} : { cert: readPem(certFile, "certFile", place) }),
    ...(keyFile === "" ? {} : { key: readPem(keyFile, "keyFile", place) }),
  };
}

function protocolOptions(tls: TlsConfig, place: string): SecureContextOptions {
  const { minVersion = "", maxVersion = "", cipherSuites = [] } = tls.options ?? {};
  const max = maxVersion === "" ? "TLSv1.3" : tlsVersion(maxVersion, place);
  const usual = max < "TLSv1.2" ? max : "TLSv1.2";
  const min = minVersion === "" ? usual : tlsVersion(minVersion, place);
  if (min > max) throw configError(place, `no TLS version is from ${min} to ${max}`);
  const list = cipherSuites.length === 0 ? DEFAULT_CIPHERS : cipherList(cipherSuites, place);
  // OpenSSL refuses the signatures of the old versions at its usual level.
  if (min < "TLSv1.2") {
    return { minVersion: min, maxVersion: max, ciphers: `${list}:@SECLEVEL=0` };
  }
  const ciphers = cipherSuites.length === 0 ? {} : { ciphers: list };
  return { minVersion: min, maxVersion: max, ...ciphers };
}

/** How often files are looked at. */
const LOOK_MS = 1000;

/** Notices that one of some files was replaced or rewritten. */
export class FileWatch {
  readonly #files: readonly string[];
  #seen: string;
  #lookedAtMs = performance.now();

  constructor(files: readonly (string | undefined)[]) {
    this.#files = files.filter((file): file is string => file !== undefined && file !== "");
    this.#seen = this.#look();
  }

  /** Whether there was a change since the last time that this answered yes. Looks now and then. */
  hasChanged(nowMs = performance.now()): boolean {
    if (this.#files.length === 0 || nowMs - this.#lookedAtMs < LOOK_MS) return false;
    this.#lookedAtMs = nowMs;
    const now = this.#look();
    if (now === this.#seen) return false;
    this.#seen = now;
    return true;
  }

  #look(): string {
    return this.#files
      .map((file) => {
        try {
          const { ino, size, mtimeMs } = statSync(file);
          return `${ino} ${size} ${mtimeMs}`;
        } catch {
          return "gone";
        }
      })
      .join(" ");
  }
}

/** The files that a TLS section names. */
export function tlsFiles(tls: TlsConfig | undefined): readonly (string | undefined)[] {
  return [tls?.certFile, tls?.keyFile, tls?.caFile];
}
