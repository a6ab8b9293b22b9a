/**
 * The certificate a TLS listener uses, found in GOST's order: the listener's files, the `tls`
 * section, cert.pem and key.pem in the working directory, the stored one in ~/.gost, else a new one
 * that is stored there. Unlike GOST's it is no CA, and an expired one is renewed, also meanwhile.
 *
 * X.509 (RFC 5280) is written in DER by hand: an ECDSA P-256 key, self-signed.
 */
import { X509Certificate, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { FileWatch, readPem } from "../chain/tls-options.ts";
import type { Config, Place, TlsConfig } from "../config/model.ts";
import { configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";

export interface KeyPair {
  /** PEM. */
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Where it was read from; absent: from nowhere. */
  readonly files?: readonly string[];
}

/** Notices that the certificate in use must be looked for again. */
export class CertificateWatch {
  readonly #files: FileWatch;
  /** Of one that was made here; others are renewed by whoever made them. */
  readonly #endsAtMs: number;

  /** `more`: further files to be watched. */
  constructor(pair: KeyPair, ...more: readonly (string | undefined)[]) {
    this.#files = new FileWatch([...(pair.files ?? []), ...more]);
    this.#endsAtMs = pair.files === undefined ? endOf(pair.cert) : Infinity;
  }

  /** Whether a file was replaced, or a generated certificate has expired. */
  isStale(): boolean {
    return this.#files.hasChanged() || new Date().getTime() >= this.#endsAtMs;
  }
}

function endOf(cert: Buffer): number {
  return new Date(new X509Certificate(cert).validTo).getTime();
}

/** What a generated certificate says. */
interface Subject {
  readonly organization: string;
  readonly commonName: string;
  readonly validMs: number;
}

const DAY_MS = 24 * 3600_000;
const SUBJECT: Subject = {
  organization: "GOST",
  commonName: "gost.run",
  validMs: 365 * DAY_MS,
};
/** RFC 5280 A.1: ub-common-name and ub-organization-name. */
const NAME_MAX = 64;
const SERIAL_BYTES = 16;

const TAG_INTEGER = 0x02;
const TAG_BIT_STRING = 0x03;
const TAG_OCTET_STRING = 0x04;
const TAG_OID = 0x06;
const TAG_UTF8 = 0x0c;
const TAG_GENERALIZED_TIME = 0x18;
const TAG_SEQUENCE = 0x30;
const TAG_SET = 0x31;

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length =
    body.length < 128
      ? Buffer.of(body.length)
      : body.length < 256
        ? Buffer.of(0x81, body.length)
        : Buffer.of(0x82, body.length >> 8, body.length & 255);
  return Buffer.concat([Buffer.of(tag), length, body]);
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 127];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 127) | 128);
    bytes.push(...groups);
  }
  return der(TAG_OID, Buffer.from(bytes));
}

function nameOf({ organization, commonName }: Subject): Buffer {
  const part = (type: string, text: string): Buffer =>
    der(TAG_SET, der(TAG_SEQUENCE, oid(type), der(TAG_UTF8, Buffer.from(text))));
  return der(TAG_SEQUENCE, part("2.5.4.10", organization), part("2.5.4.3", commonName));
}

/** RFC 5280 §4.1.2.5.2; UTCTime would only be needed for readers that no longer exist. */
function timeOf(date: Date): Buffer {
  const text = date
    .toISOString()
    .replace(/[-:T]/g, "")
    .replace(/\.\d+Z$/, "Z");
  return date.getUTCFullYear() < 2050
    ? der(0x17, Buffer.from(text.slice(2)))
    : der(TAG_GENERALIZED_TIME, Buffer.from(text));
}

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  const critical = isCritical ? [Buffer.of(0x01, 0x01, 0xff)] : [];
  return der(TAG_SEQUENCE, oid(id), ...critical, der(TAG_OCTET_STRING, value));
}

function extensions(commonName: string): Buffer {
  const usages = der(TAG_SEQUENCE, oid("1.3.6.1.5.5.7.3.2"), oid("1.3.6.1.5.5.7.3.1"));
  const names = der(TAG_SEQUENCE, der(0x82, Buffer.from(commonName)));
  return der(
    0xa3,
    der(
      TAG_SEQUENCE,
      // digitalSignature
      extension("2.5.29.15", true, der(TAG_BIT_STRING, Buffer.of(7, 0x80))),
      extension("2.5.29.37", false, usages),
      // cA is false by default
      extension("2.5.29.19", true, der(TAG_SEQUENCE)),
      extension("2.5.29.17", false, names),
    ),
  );
}

function pem(label: string, body: Buffer): Buffer {
  const lines = body.toString("base64").match(/.{1,64}/g) ?? [];
  return Buffer.from(`-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`);
}

/** A new self-signed certificate, valid from a day ago (clocks differ) for a year or as told. */
export function generateCertificate(now = new Date(), subject = SUBJECT): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const ecdsaWithSha256 = der(TAG_SEQUENCE, oid("1.2.840.10045.4.3.2"));
  const serial = randomBytes(SERIAL_BYTES);
  // Positive, and without superfluous zeros.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const validity = der(
    TAG_SEQUENCE,
    timeOf(new Date(now.getTime() - DAY_MS)),
    timeOf(new Date(now.getTime() + subject.validMs)),
  );
  const tbs = der(
    TAG_SEQUENCE,
    der(0xa0, der(TAG_INTEGER, Buffer.of(2))),
    der(TAG_INTEGER, serial),
    ecdsaWithSha256,
    nameOf(subject),
    validity,
    nameOf(subject),
    publicKey.export({ type: "spki", format: "der" }),
    extensions(subject.commonName),
  );
  const signature = sign("sha256", tbs, privateKey);
  const certificate = der(
    TAG_SEQUENCE,
    tbs,
    ecdsaWithSha256,
    der(TAG_BIT_STRING, Buffer.of(0), signature),
  );
  const key = privateKey.export({ type: "pkcs8", format: "der" });
  return { cert: pem("CERTIFICATE", certificate), key: pem("PRIVATE KEY", key) };
}

function filesOf(tls: TlsConfig | undefined, place: Place): KeyPair | undefined {
  if (tls?.certFile === undefined || tls.keyFile === undefined) return undefined;
  return {
    cert: readPem(tls.certFile, "certFile", place),
    key: readPem(tls.keyFile, "keyFile", place),
    files: [tls.certFile, tls.keyFile],
  };
}

/** Throws a configuration error for what no certificate can say. */
function subjectOf(tls: TlsConfig | undefined): Subject {
  const text = (key: "organization" | "commonName"): string => {
    const given = tls?.[key] ?? "";
    if (given === "") return SUBJECT[key];
    const isName = given.length <= NAME_MAX && (key === "organization" || HOST_NAME.test(given));
    if (isName) return given;
    throw configError("tls", `${key}: ${JSON.stringify(given)} is not possible in a certificate`);
  };
  const validMs = tls?.validityMs ?? 0;
  return {
    organization: text("organization"),
    commonName: text("commonName"),
    validMs: validMs > 0 ? validMs : SUBJECT.validMs,
  };
}

const HOST_NAME = /^[A-Za-z0-9*]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;

/** What is wrong with a stored certificate; undefined: nothing. */
function faultOf(cert: Buffer, subject: Subject): string | undefined {
  try {
    const { subject: said } = new X509Certificate(cert);
    if (endOf(cert) <= new Date().getTime()) return "has expired";
    if (subject === SUBJECT || said === subjectText(subject)) return undefined;
    return "is for another name";
  } catch {
    return "cannot be read";
  }
}

function subjectText({ organization, commonName }: Subject): string {
  return `O=${organization}\nCN=${commonName}`;
}

/** The certificate for a listener; throws a configuration error for files that cannot be read. */
export function certificateFor(
  tls: TlsConfig | undefined,
  config: Pick<Config, "tls">,
  place: Place,
  log: Logger,
): KeyPair {
  const named = filesOf(tls, place) ?? filesOf(config.tls, "tls");
  if (named !== undefined) return named;
  if (existsSync("cert.pem") && existsSync("key.pem")) {
    return {
      cert: readPem("cert.pem", "certFile", place),
      key: readPem("key.pem", "keyFile", place),
      files: ["cert.pem", "key.pem"],
    };
  }
  const { validityMs, commonName, organization } = config.tls ?? {};
  const isUsual = validityMs === undefined && (commonName ?? "") + (organization ?? "") === "";
  const subject = isUsual ? SUBJECT : subjectOf(config.tls);
  return storedCertificate(join(homedir(), ".gost"), log, subject);
}

/** The stored certificate of a folder, made or renewed if need be; unwritable folders only warn. */
export function storedCertificate(folder: string, log: Logger, subject = SUBJECT): KeyPair {
  const certFile = join(folder, "auto-ca-cert.pem");
  const keyFile = join(folder, "auto-ca-key.pem");
  try {
    if (existsSync(certFile) && existsSync(keyFile)) {
      const stored = { cert: readFileSync(certFile), key: readFileSync(keyFile) };
      const fault = faultOf(stored.cert, subject);
      if (fault === undefined) return stored;
      log.info(`the certificate in ${certFile} ${fault}: making a new one`);
    }
  } catch (error) {
    log.warn(`cannot read the stored certificate: ${messageOf(error)}`);
  }
  const made = generateCertificate(new Date(), subject);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    store(keyFile, made.key, 0o600);
    store(certFile, made.cert, 0o644);
  } catch (error) {
    log.warn(
      `cannot store the generated certificate: ${messageOf(error)}; the next start makes another`,
    );
  }
  return made;
}

/** Whole or not at all. */
function store(file: string, content: Buffer, mode: number): void {
  const draft = `${file}.${randomBytes(6).toString("hex")}`;
  writeFileSync(draft, content, { mode, flag: "wx" });
  chmodSync(draft, mode);
  renameSync(draft, file);
}
