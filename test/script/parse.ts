/**
 * Packet scripts: one scenario a file, in fixtures/script, whose README tells the language. This
 * file makes lines into steps; `player.ts` plays them.
 */

/** Words of a line: bare ones in order, `key=value` ones by key. */
export interface Words {
  readonly bare: readonly string[];
  readonly keys: ReadonlyMap<string, string>;
}

export interface Step {
  readonly line: number;
  readonly text: string;
  /** After the step before. */
  readonly afterUs: number;
  readonly verb: string;
  readonly words: Words;
}

export interface Script {
  /** What it verifies, and the requirements that it cites. */
  readonly title: string;
  readonly families: readonly (4 | 6)[];
  readonly core: Words;
  readonly client: Words;
  readonly steps: readonly Step[];
}

const VERBS = [">", "<", "host", "event", "expect", "got"];

export function words(text: string): Words {
  const keys = new Map<string, string>();
  const bare: string[] = [];
  for (const word of text.split(/\s+/).filter((each) => each !== "")) {
    const at = word.indexOf("=");
    if (at > 0) keys.set(word.slice(0, at), word.slice(at + 1));
    else bare.push(word);
  }
  return { bare, keys };
}

function parseStep(text: string, line: number): Step {
  const [, ms = "", verb = "", rest = ""] = /^\+(\d+(?:\.\d+)?)\s+(\S+)\s*(.*)$/.exec(text) ?? [];
  if (!VERBS.includes(verb)) throw new Error(`line ${line} is no step: ${text}`);
  return { line, text, afterUs: Math.round(Number(ms) * 1000), verb, words: words(rest) };
}

export function parseScript(source: string): Script {
  const lines = source.split("\n").map((text, i) => ({ text: text.trim(), line: i + 1 }));
  const [first] = lines;
  if (first === undefined || !first.text.startsWith("# ")) {
    throw new Error("the first line says what the script verifies");
  }
  const settings = new Map<string, string>();
  const steps: Step[] = [];
  for (const { text, line } of lines) {
    if (text === "" || text.startsWith("#")) continue;
    const [, name, rest = ""] = /^(core|client|on)\b\s*(.*)$/.exec(text) ?? [];
    if (name === undefined) steps.push(parseStep(text, line));
    else if (steps.length > 0) throw new Error(`line ${line}: settings come first`);
    else settings.set(name, rest);
  }
  const on = words(settings.get("on") ?? "v4 v6").bare;
  return {
    title: first.text.slice(2),
    families: on.map((word) => (word === "v4" ? 4 : 6)),
    core: words(settings.get("core") ?? ""),
    client: words(settings.get("client") ?? ""),
    steps,
  };
}
