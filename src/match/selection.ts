/**
 * Which destinations a node (of a hop, of a forwarder) or a chain of a group takes: by the rule of
 * its `matcher`, or without one by its older `filter`; and before which others it is taken.
 */
import type { NodeFilter, NodeMatcher } from "../config/model.ts";
import { configError } from "../errors.ts";
import { type Matches, RuleError, hostMatches, networkMatches, parseRule } from "./rule.ts";

export interface Selection {
  /** undefined: everything. */
  readonly accepts: Matches | undefined;
  /** The highest that accepts is taken; by the length of the rule if nothing is said, else 0. */
  readonly priority: number;
  /** The rule or the filter, for people; "" = none. */
  readonly text: string;
}

interface Selecting {
  readonly filter?: NodeFilter;
  readonly matcher?: NodeMatcher;
}

/** Throws a configuration error with `place`. */
export function selectionOf({ filter, matcher }: Selecting, place: string): Selection {
  const { rule = "", priority = 0 } = matcher ?? {};
  if (rule.trim() !== "") {
    const own = priority === 0 ? Buffer.byteLength(rule) : priority;
    return { accepts: ruleOf(rule, place), priority: own, text: rule.trim() };
  }
  if (filter === undefined) return { accepts: undefined, priority, text: "" };
  return { accepts: filterOf(filter, place), priority, text: filterText(filter) };
}

/** `matcher.rule`; throws a configuration error with `place`. */
export function ruleOf(rule: string, place: string): Matches {
  return explained(place, `matcher.rule ${JSON.stringify(rule)}: `, () => parseRule(rule));
}

function filterOf({ host, protocol, path }: NodeFilter, place: string): Matches | undefined {
  if (path !== "") {
    throw configError(place, "filter.path is not supported: it would need a look into HTTP");
  }
  return explained(place, "filter.", () => {
    const parts = [
      ...(host === "" ? [] : [hostMatches(host)]),
      ...(protocol === "" ? [] : [networkMatches("protocol", protocol)]),
    ];
    return (subject) => parts.every((part) => part(subject));
  });
}

function filterText({ host, protocol }: NodeFilter): string {
  const parts = { host, protocol };
  const given = Object.entries(parts).filter(([, value]) => value !== "");
  return given.map(([key, value]) => `${key} ${value}`).join(", ");
}

function explained<T>(place: string, what: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof RuleError)) throw error;
    throw configError(place, `${what}${error.message}`);
  }
}
