/** Rules of matchers and filters, read once before anything starts: mistakes with their place. */
import { ruleOf, selectionOf as compile } from "../match/selection.ts";
import type { DocMap, Reading } from "./document.ts";
import { listOf, mapOf, numberOf, textOf } from "./fields.ts";
import { selectionOf } from "./parts.ts";

export function checkSelections(document: DocMap, reading: Reading): void {
  const services = listOf(document, "services");
  const chained = listOf(document, "chains").flatMap((chain) => listOf(chain, "hops"));
  const hops = [...chained, ...listOf(document, "hops")];
  const targets = services.flatMap((service) => listOf(mapOf(service, "forwarder") ?? {}, "nodes"));
  for (const node of [...hops.flatMap((hop) => listOf(hop, "nodes")), ...targets]) {
    checkNode(node, reading);
  }
  for (const service of services) {
    const group = mapOf(mapOf(service, "handler") ?? {}, "chainGroup") ?? {};
    for (const entry of listOf(group, "chains")) checkGrouped(entry, reading);
  }
}

function checkNode(node: DocMap, reading: Reading): void {
  const { filter, matcher } = selectionOf(node);
  const hasRule = matcher !== undefined && matcher.rule.trim() !== "";
  reading.attempt(() => {
    const place = placeOf(node, hasRule ? "matcher" : "filter", reading);
    compile({ ...(filter && { filter }), ...(matcher && { matcher }) }, place);
  });
  if (hasRule && filter !== undefined) {
    const why = "filter has no effect beside matcher.rule";
    reading.warn(placeOf(node, "filter", reading), why);
  }
  warnBodySize(node, reading);
}

function checkGrouped(entry: DocMap, reading: Reading): void {
  const matcher = mapOf(entry, "matcher");
  if (matcher === undefined) return;
  const rule = textOf(matcher, "rule");
  const place = reading.places.of(matcher, "rule");
  if (rule.trim() !== "") reading.attempt(() => ruleOf(rule, place));
  if ((numberOf(matcher, "priority") ?? 0) !== 0) {
    const why = "matcher.priority has no effect in a chainGroup";
    reading.warn(reading.places.of(matcher, "priority"), why);
  }
  warnBodySize(entry, reading);
}

function warnBodySize(map: DocMap, reading: Reading): void {
  const matcher = mapOf(map, "matcher") ?? {};
  if ((numberOf(matcher, "bodySize") ?? 0) === 0) return;
  const why = "matcher.bodySize has no effect: bodies are not looked into";
  reading.warn(reading.places.of(matcher, "bodySize"), why);
}

/** Of the rule, else of what holds it, else of the node. */
function placeOf(node: DocMap, key: "matcher" | "filter", reading: Reading): string {
  const map = mapOf(node, key);
  const inner = map === undefined ? "" : reading.places.of(map, key === "matcher" ? "rule" : "");
  return inner || reading.places.of(node, key);
}
