/** Datagram framings: every split, empty and largest datagrams, and streams out of step. */
import * as assert from "uvu/assert";
import {
  AssociatedReader,
  DatagramReader,
  encodeAssociated,
  encodeDatagram,
} from "../../src/proto/relay-udp.ts";
import { RelayFormatError } from "../../src/proto/relay.ts";
import { suite } from "../kit/suite.ts";

const test = suite("proto/relay-udp");

const PAYLOADS = ["hello", "", "x", "y".repeat(300)].map((text) => Buffer.from(text));
const HOSTS = ["192.0.2.1", "2001:db8::1", "example.com", ""];

function splits(bytes: Buffer): Buffer[][] {
  const all: Buffer[][] = [[bytes], [...bytes].map((byte) => Buffer.of(byte))];
  for (let at = 1; at < bytes.length; at++) all.push([bytes.subarray(0, at), bytes.subarray(at)]);
  return all;
}

test("datagrams of a CONNECT are the same at every split", () => {
  const stream = Buffer.concat(PAYLOADS.map(encodeDatagram));
  for (const parts of splits(stream)) {
    const reader = new DatagramReader();
    const got: Buffer[] = [];
    for (const part of parts) reader.push(part, (payload) => got.push(Buffer.from(payload)));
    assert.equal(got, PAYLOADS);
    assert.is(reader.isInside, false);
  }
});

test("datagrams of an association are the same at every split", () => {
  const payloads = PAYLOADS.filter((payload) => payload.length > 0);
  const frames = payloads.flatMap((payload) =>
    HOSTS.map((host, port) => encodeAssociated(payload, { host, port })),
  );
  const wanted = payloads.flatMap((payload) =>
    HOSTS.map((host, port) => `${payload.toString()} ${host} ${port}`),
  );
  for (const parts of splits(Buffer.concat(frames))) {
    const reader = new AssociatedReader();
    const got: string[] = [];
    for (const part of parts) {
      reader.push(part, (payload, { host, port }) => {
        got.push(`${Buffer.from(payload).toString()} ${host} ${port}`);
      });
    }
    assert.equal(got, wanted);
    assert.is(reader.isInside, false);
  }
});

test("65535 bytes are carried whole, one more is refused", () => {
  const largest = Buffer.alloc(65535, 7);
  const name = "n".repeat(255);
  for (const cut of [1, 3, 262, 40_000, 65_700]) {
    const frame = encodeAssociated(largest, { host: name, port: 53 });
    const reader = new AssociatedReader();
    let got = 0;
    const count = (payload: Uint8Array): void => void (got += payload.length);
    reader.push(frame.subarray(0, cut), count);
    reader.push(frame.subarray(cut), count);
    assert.is(got, 65535);
  }
  assert.throws(() => encodeDatagram(Buffer.alloc(65536)), /65535/);
  assert.throws(() => encodeAssociated(Buffer.alloc(0), { host: "", port: 1 }), /empty/);
});

test("an empty datagram of an association keeps the reader in step", () => {
  const empty = Buffer.from("0000ff017f000001232b", "hex");
  const next = encodeAssociated(Buffer.from("next"), { host: "192.0.2.1", port: 7 });
  const got: string[] = [];
  const reader = new AssociatedReader();
  reader.push(Buffer.concat([empty, next]), (payload) => got.push(Buffer.from(payload).toString()));
  assert.equal(got, ["", "next"]);
});

test("an unknown address type throws, whole or split", () => {
  const bad = Buffer.from("0005ff0961626364656667", "hex");
  for (const parts of splits(bad)) {
    const reader = new AssociatedReader();
    assert.throws(
      () => parts.forEach((part) => reader.push(part, () => undefined)),
      (error: unknown) => error instanceof RelayFormatError,
    );
  }
});

test.run();
