/** The generated certificate, and where certificates come from. */
import { X509Certificate, createPrivateKey } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { TlsConfig } from "../../src/config/model.ts";
import { certificateFor, generateCertificate, storedCertificate } from "../../src/serve/cert.ts";
import { CertFiles, MemoryLog, emptyConfig } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/cert");

test("is self-signed ECDSA P-256 for gost.run, no CA, valid for a year", () => {
  for (let count = 0; count < 20; count++) {
    const { cert, key } = generateCertificate();
    const parsed = new X509Certificate(cert);
    assert.ok(parsed.checkPrivateKey(createPrivateKey(key)));
    assert.ok(parsed.verify(parsed.publicKey));
    assert.is(parsed.ca, false);
    assert.is(parsed.checkHost("gost.run"), "gost.run");
    assert.is(parsed.subject, "O=GOST\nCN=gost.run");
    assert.is(parsed.issuer, parsed.subject);
    assert.is(parsed.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
    assert.equal([...(parsed.keyUsage ?? [])].sort(), ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    assert.match(parsed.serialNumber, /^[4-7][0-9A-F]{31}$/);
    const days = (Date.parse(parsed.validTo) - Date.parse(parsed.validFrom)) / 86_400_000;
    assert.is(Math.round(days), 366);
  }
});

test("dates behind 2049 are written so that they can be read", () => {
  const { cert } = generateCertificate(new Date("2049-12-01T00:00:00Z"));
  assert.match(new X509Certificate(cert).validTo, /2050/);
});

test("is stored for its owner only, used again, and renewed when it has expired", () => {
  const folder = join(mkdtempSync(join(tmpdir(), "tsgost-home-")), ".gost");
  const log = new MemoryLog();
  const first = storedCertificate(folder, log);
  assert.is(statSync(folder).mode & 0o777, 0o700);
  assert.is(statSync(join(folder, "auto-ca-key.pem")).mode & 0o777, 0o600);
  assert.is(statSync(join(folder, "auto-ca-cert.pem")).mode & 0o777, 0o644);
  assert.equal(storedCertificate(folder, log), first);
  const old = generateCertificate(new Date("2020-01-01T00:00:00Z"));
  writeFileSync(join(folder, "auto-ca-cert.pem"), old.cert);
  writeFileSync(join(folder, "auto-ca-key.pem"), old.key);
  const renewed = storedCertificate(folder, log);
  assert.ok(!renewed.cert.equals(old.cert));
  assert.equal(readFileSync(join(folder, "auto-ca-cert.pem")), renewed.cert);
  assert.is(log.find(/expired/).length, 1);
  rmSync(join(folder, ".."), { recursive: true });
});

test("the tls section names whom a generated certificate is for, and for how long", () => {
  const home = mkdtempSync(join(tmpdir(), "tsgost-home-"));
  const before = process.env["HOME"];
  process.env["HOME"] = home;
  try {
    const log = new MemoryLog();
    const of = (tls: TlsConfig): X509Certificate =>
      new X509Certificate(certificateFor({}, { ...emptyConfig, tls }, "-L", log).cert);
    const usual = of({});
    assert.is(usual.subject, "O=GOST\nCN=gost.run");
    const named = of({ commonName: "proxy.example", validityMs: 48 * 3_600_000 });
    assert.is(named.subject, "O=GOST\nCN=proxy.example");
    assert.is(named.checkHost("proxy.example"), "proxy.example");
    assert.is(Date.parse(named.validTo) - Date.parse(named.validFrom), 72 * 3_600_000);
    assert.is(log.find(/another name/).length, 1);
    assert.is(of({ commonName: "proxy.example" }).fingerprint256, named.fingerprint256);
    assert.match(of({ organization: "Müller & Söhne" }).subject, /O=M.*hne\nCN=gost.run/);
    assert.throws(() => of({ commonName: "not a name" }), /commonName/);
    assert.throws(() => of({ organization: "x".repeat(65) }), /organization/);
  } finally {
    if (before === undefined) delete process.env["HOME"];
    else process.env["HOME"] = before;
    rmSync(home, { recursive: true });
  }
});

test("a folder that cannot be written warns, and the certificate is used all the same", () => {
  const home = mkdtempSync(join(tmpdir(), "tsgost-home-"));
  writeFileSync(join(home, "file"), "");
  chmodSync(join(home, "file"), 0o600);
  const log = new MemoryLog();
  const pair = storedCertificate(join(home, "file", ".gost"), log);
  assert.ok(new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key)));
  assert.is(log.find(/cannot store/).length, 1);
  rmSync(home, { recursive: true });
});

test("a listener's own files come first, then those of the tls section", () => {
  const own = new CertFiles();
  const section = new CertFiles();
  const log = new MemoryLog();
  const config = { ...emptyConfig, tls: section.tls };
  assert.equal(certificateFor(own.tls, config, "-L", log).cert, readFileSync(own.certFile));
  assert.equal(certificateFor({}, config, "-L", log).cert, readFileSync(section.certFile));
  const missing = { certFile: "/nonexistent.pem", keyFile: "/nonexistent.pem" };
  assert.throws(() => certificateFor(missing, config, "-L", log), /certFile/);
  own.remove();
  section.remove();
});

test.run();
