/**
 * A flow through the installed package's `tsgost/stack`, in memory: a hand-made TCP client (RFC
 * 9293, no options) says hello, the stack's user answers. Prints `flow: ANSWER`.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Stack } from "tsgost/stack";

const wasm = readFileSync(createRequire(import.meta.url).resolve("tsgost/core.wasm"));
const CLIENT = [192, 0, 2, 1];
const SERVER = [198, 51, 100, 7];
const [SYN, PSH, ACK] = [0x02, 0x08, 0x10];

function sum(bytes) {
  let total = 0;
  for (let at = 0; at < bytes.length; at += 2) total += (bytes[at] << 8) | (bytes[at + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}

/** An IPv4 packet with one TCP segment of the client. */
function segment({ flags, seq, ack, text = "" }) {
  const payload = Buffer.from(text);
  const tcp = Buffer.alloc(20 + payload.length);
  tcp.writeUInt16BE(40_000, 0);
  tcp.writeUInt16BE(80, 2);
  tcp.writeUInt32BE(seq >>> 0, 4);
  tcp.writeUInt32BE(ack >>> 0, 8);
  tcp.writeUInt8(0x50, 12);
  tcp.writeUInt8(flags, 13);
  tcp.writeUInt16BE(65_535, 14);
  payload.copy(tcp, 20);
  const pseudo = Buffer.from([...CLIENT, ...SERVER, 0, 6, tcp.length >> 8, tcp.length & 255]);
  tcp.writeUInt16BE(sum(Buffer.concat([pseudo, tcp])), 16);
  const ip = Buffer.from([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, ...CLIENT, ...SERVER]);
  ip.writeUInt16BE(20 + tcp.length, 2);
  ip.writeUInt16BE(sum(ip), 10);
  return Buffer.concat([ip, tcp]);
}

function parse(packet) {
  const tcp = Buffer.from(packet).subarray(20);
  const text = tcp.subarray((tcp[12] >> 4) * 4).toString();
  return { flags: tcp[13], seq: tcp.readUInt32BE(4), ack: tcp.readUInt32BE(8), text };
}

let heard = "";
const stack = new Stack({
  wasm,
  entropy: new Uint8Array(64).fill(7),
  handler: {
    open: (flow) => flow.accept(),
    data: (flow) => {
      heard += Buffer.from(flow.read()).toString();
      if (heard === "hello") flow.write(Buffer.from("hello back"));
    },
  },
});

const iss = 0xfffffff0;
const [answer] = stack.input([segment({ flags: SYN, seq: iss, ack: 0 })], 1_000_000).map(parse);
if (answer?.flags !== (SYN | ACK)) throw new Error(`no SYN-ACK: ${JSON.stringify(answer)}`);
if (answer.ack !== (iss + 1) >>> 0) throw new Error(`wrong acknowledgement ${answer.ack}`);
const ack = answer.seq + 1;
const packets = [
  segment({ flags: ACK, seq: iss + 1, ack }),
  segment({ flags: ACK | PSH, seq: iss + 1, ack, text: "hello" }),
];
const replies = [...stack.input(packets, 1_001_000), ...stack.tick(1_002_000)].map(parse);
console.log(`flow: ${replies.map(({ text }) => text).join("")}`);
