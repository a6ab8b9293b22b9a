/**
 * Fuzz entry of bypass rules: any bytes as the text of a rule. Parsing answers with records that
 * make sense, whatever is parsed can be compiled, and a rule that names a host finds it.
 */
import { RuleImage } from "../../src/bypass/image.ts";
import { parseRule } from "../../src/bypass/rule.ts";
import { codeOf } from "../../src/errors.ts";
import { makeBypass } from "../bypass/kit.ts";

function check(holds: boolean, what: string, text: string): void {
  if (!holds) throw new Error(`${what}: ${JSON.stringify(text)}`);
}

/** Throws where a promise of the parser is broken. */
export async function fuzzRule(bytes: Uint8Array): Promise<void> {
  const text = Buffer.from(bytes).toString();
  for (const compat of [false, true]) {
    const { rules, fault, warning } = parseRule(text, compat);
    check(!compat || fault === undefined, "GOST has no faults", text);
    check(fault === undefined || rules.length === 0, "a fault has no rules", text);
    check(warning === undefined || rules.every(({ kind }) => kind === "never"), "never", text);
    const image = new RuleImage(compat, () => undefined);
    try {
      image.addText(text, "");
    } catch (error) {
      check(codeOf(error) === "TSGOST_ERR_CONFIG" && !compat, "refused otherwise", text);
      continue;
    }
    check(image.count >= rules.length, "a rule has a record at least", text);
    const bypass = await makeBypass([text], { compat });
    const [rule] = rules;
    if (rule?.kind === "name" || rule?.kind === "suffix") {
      const hit = bypass.match("tcp", rule.name, rule.ports.max);
      check(rule.name === "" || hit !== undefined, "a name finds itself", text);
    }
    bypass.close();
  }
}
