/**
 * Which test and which place of the core belong to which requirement.
 *
 * `fixtures/requirements.json` lists the requirements. A test cites them by beginning its name with
 * their ids, a space between: `test("TCP-14 MUST-22: the SYN-ACK is repeated …", …)`; so does
 * the first line of a packet script. A place of the core cites them in a comment, by id or by the
 * RFC section that the requirement refers to.
 */
import ts from "typescript";
import { filesUnder, lineOf, parse, read, scripts, walk } from "../lint/sources.ts";

/** M must, S should, y may; - does not apply. */
export type Class = "M" | "S" | "y" | "-";

export interface Requirement {
  readonly id: string;
  readonly class: Class;
  /** As comments write them: "RFC 9293 §3.4". */
  readonly refs: readonly string[];
  readonly text: string;
  /** Why it does not apply, or is not met. */
  readonly why?: string;
}

export interface Cited {
  readonly path: string;
  readonly line: number;
  readonly name: string;
  readonly ids: readonly string[];
}

export interface Place {
  readonly path: string;
  readonly line: number;
}

export interface Row {
  readonly requirement: Requirement;
  readonly tests: readonly Cited[];
  readonly places: readonly Place[];
}

interface List {
  readonly stack: readonly Requirement[];
  readonly rfc9293: readonly Requirement[];
}

const AREAS = "DET|TUN|IP|V6|FRAG|ICMP|UDP|TCP|FLOW|DOS|MEM|PERF|MUST";
const ID = new RegExp(`\\b(?:${AREAS})-\\d+\\b`, "g");
const CITING = new RegExp(`^(?:(?:${AREAS})-\\d+[ :])+`);

export function requirements(): Requirement[] {
  const list = JSON.parse(read("fixtures/requirements.json")) as List;
  return [...list.stack, ...list.rfc9293];
}

/** The ids that a test's name begins with. */
export function citedIn(name: string): string[] {
  return CITING.exec(name)?.[0].match(ID) ?? [];
}

function isFunction(node: ts.Expression | undefined): boolean {
  return node !== undefined && (ts.isArrowFunction(node) || ts.isFunctionExpression(node));
}

/** The text of a string, or of a template with its holes as they are written. */
function literalText(node: ts.Expression): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  return ts.isTemplateExpression(node) ? node.getText().slice(1, -1) : "";
}

/** Packet scripts are tests; the title is what their first line says. */
function citingScripts(): Cited[] {
  return filesUnder("fixtures/script")
    .filter((path) => path.endsWith(".pkt"))
    .map((path) => {
      const name = read(path).split("\n", 1)[0]!.slice(2);
      return { path, line: 1, name, ids: citedIn(name) };
    });
}

/** Every registered test that cites something. */
export function citingTests(): Cited[] {
  const found = citingScripts();
  for (const path of scripts("test")) {
    const source = parse(path);
    walk(source, (node) => {
      if (!ts.isCallExpression(node) || !isFunction(node.arguments.at(-1))) return;
      for (const argument of node.arguments) {
        const name = literalText(argument);
        const ids = citedIn(name);
        if (ids.length > 0) {
          found.push({ path, line: lineOf(source, argument.getStart()), name, ids });
        }
      }
    });
  }
  return found;
}

/** Places in comments of the core, by what they cite: ids and "RFC n §s". */
export function citedPlaces(): Map<string, Place[]> {
  const places = new Map<string, Place[]>();
  for (const path of scripts("assembly")) {
    let comment = false;
    read(path)
      .split("\n")
      .forEach((text, index) => {
        if (text.includes("/*")) comment = true;
        const remark = comment ? text : text.slice(Math.max(text.indexOf("//"), 0));
        if (text.includes("*/")) comment = false;
        if (!comment && remark === text && !text.includes("*/")) return;
        for (const key of new Set([...(remark.match(ID) ?? []), ...sections(remark)])) {
          const list = places.get(key) ?? [];
          list.push({ path, line: index + 1 });
          places.set(key, list);
        }
      });
  }
  return places;
}

/** "RFC 9293 §3.4, §3.5.2" names two sections. */
function sections(text: string): string[] {
  const found: string[] = [];
  for (const [, rfc = "", list = ""] of text.matchAll(/RFC (\d+)((?:,? (?:and )?§[\d.]+)+)/g)) {
    for (const [section] of list.matchAll(/§\d+(?:\.\d+)*/g)) found.push(`RFC ${rfc} ${section}`);
  }
  return found;
}

export function traceability(): Row[] {
  const tests = citingTests();
  const places = citedPlaces();
  return requirements().map((requirement) => ({
    requirement,
    tests: tests.filter(({ ids }) => ids.includes(requirement.id)),
    places: [requirement.id, ...requirement.refs].flatMap((key) => places.get(key) ?? []),
  }));
}
