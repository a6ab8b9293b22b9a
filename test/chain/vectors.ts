/**
 * The wire vectors of fixtures/vectors: loading, the tokens in their texts, and what
 * deviations.json replaces. README.md there explains the form.
 */
import { readFileSync } from "node:fs";
import { OP_CLOSE, FrameDecoder } from "../../src/proto/ws.ts";

export interface Vector {
  readonly name: string;
  readonly about: string;
  /** GOST's command line when it was captured. */
  readonly peer: readonly string[];
  readonly steps: readonly string[];
  readonly end: "open" | "closes" | "resets" | "any";
}

export interface Deviation {
  /** FILE/NAME. */
  readonly vector: string;
  readonly divergence: string;
  /** Instead of the vector's; absent: the vector is not replayed. */
  readonly steps?: readonly string[];
  /** In words, where nothing can be replayed. */
  readonly instead?: string;
  readonly end?: Vector["end"];
}

function load<T>(name: string): readonly T[] {
  const url = new URL(`../../fixtures/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8")) as readonly T[];
}

export const deviations = load<Deviation>("deviations");

export interface Replay extends Vector {
  readonly deviation: Deviation | undefined;
}

/** The vectors of a file, each with what deviations.json says of it. */
export function vectorsOf(file: string): readonly Replay[] {
  return load<Vector>(file).map((vector) => {
    const deviation = deviations.find((entry) => entry.vector === `${file}/${vector.name}`);
    return {
      ...vector,
      ...(deviation?.steps === undefined ? {} : { steps: deviation.steps }),
      ...(deviation?.end === undefined ? {} : { end: deviation.end }),
      deviation,
    };
  });
}

export type Ports = Readonly<Record<string, number>>;

/** Hex with its tokens resolved: `{echo}` a port, `z*100;` a run. `??` stays. */
export function expand(hex: string, ports: Ports): string {
  return hex
    .replace(/\{(\w+)\}/g, (_, name: string) => {
      const port = ports[name];
      if (port === undefined) throw new Error(`no port ${name}`);
      return port.toString(16).padStart(4, "0");
    })
    .replace(/z\*(\d+);/g, (_, count: string) => "7a".repeat(Number(count)));
}

export interface Turn {
  readonly from: "client" | "server";
  /** Hex of all steps of the turn, `??` for any byte. */
  readonly hex: string;
}

/** Steps of one side in a row are one turn. */
export function turnsOf(vector: Vector, ports: Ports): readonly Turn[] {
  const turns: { from: "client" | "server"; hex: string }[] = [];
  for (const step of vector.steps) {
    const match = /^(client|server)( http| frame)?: ([\s\S]*)$/.exec(step);
    if (match === null) throw new Error(`step "${step}"`);
    const [, from, kind, body = ""] = match;
    const hex =
      kind === undefined
        ? expand(body, ports)
        : kind === " http"
          ? Buffer.from(decimals(body, ports), "latin1").toString("hex")
          : frameHex(body, ports);
    const last = turns[turns.length - 1];
    if (last !== undefined && last.from === from) last.hex += hex;
    else turns.push({ from: from as Turn["from"], hex });
  }
  return turns;
}

/** Text with its `{port}` tokens as decimal numbers. */
function decimals(text: string, ports: Ports): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const port = ports[name];
    if (port === undefined) throw new Error(`no port ${name}`);
    return String(port);
  });
}

/** `HEADER plain|mask KEY PAYLOAD`. */
function frameHex(text: string, ports: Ports): string {
  const [header = "", kind, ...rest] = text.split(" ");
  if (kind === "plain") return header + expand(rest[0] ?? "", ports);
  const key = Buffer.from(rest[0] ?? "", "hex");
  const payload = Buffer.from(expand(rest[1] ?? "", ports), "hex");
  payload.forEach((byte, index) => (payload[index] = byte ^ (key[index & 3] ?? 0)));
  return header + key.toString("hex") + payload.toString("hex");
}

export function matches(got: string, wanted: string): boolean {
  if (got.length !== wanted.length) return false;
  for (let index = 0; index < wanted.length; index++) {
    if (wanted[index] !== "?" && wanted[index] !== got[index]) return false;
  }
  return true;
}

export interface WsText {
  readonly data: string;
  readonly controls: string;
}

/** What a run of frames says: payload as one stream (boundaries mean nothing), control frames. */
export function wsText(bytes: Buffer, fromClient: boolean): WsText {
  const decoder = new FrameDecoder(fromClient);
  let data = "";
  let controls = "";
  let offset = 0;
  const copy = Buffer.from(bytes);
  while (offset < copy.length) {
    offset = decoder.decode(copy, offset, {
      data: (part) => (data += Buffer.from(part).toString("hex")),
      control: (opcode, payload) => {
        const name = opcode === OP_CLOSE ? "close" : `op${opcode}`;
        controls += `${name}:${Buffer.from(payload).toString("hex")} `;
      },
    });
  }
  return { data, controls };
}
