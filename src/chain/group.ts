/**
 * Which chain a connection takes: always the one that the handler names, or one of a group. The
 * group's selector passes over chains whose proxies just failed; if all have, the one that failed
 * longest ago is tried: never none, which would mean direct.
 */
import type { SelectorConfig } from "../config/model.ts";
import type { HopChain } from "./chain.ts";
import { FailMark, type RouteRequest, Selector } from "./hop.ts";
import type { Target } from "./rules.ts";

const MAX_FAILS = 1;
const FAIL_TIMEOUT_MS = 10_000;

/** A chain as a member of a group. */
export class Member extends FailMark {
  readonly chain: HopChain;
  readonly weight = 1;
  readonly isBackup = false;
  /** undefined: for every target. */
  readonly accepts: ((target: Target) => boolean) | undefined;
  /** The rule behind `accepts`, for people. */
  readonly rule: string;

  constructor(
    chain: HopChain,
    rule?: { readonly text: string; readonly accepts: (target: Target) => boolean },
    selector?: SelectorConfig,
    now: () => number = () => performance.now(),
  ) {
    super(selector?.maxFails ?? MAX_FAILS, selector?.failTimeoutMs ?? FAIL_TIMEOUT_MS, now);
    this.chain = chain;
    this.accepts = rule?.accepts;
    this.rule = rule?.text ?? "";
  }
}

export interface GroupView {
  readonly chain: string;
  readonly rule: string;
  readonly accepts: boolean;
}

export class ChainGroup {
  readonly members: readonly Member[];
  readonly #selector: Selector<Member>;

  /** At least one member. */
  constructor(members: readonly Member[], strategy?: string, random?: () => number) {
    this.members = members;
    this.#selector = new Selector(strategy, random);
  }

  /** The only chain there is, whatever the target. */
  get single(): HopChain | undefined {
    const [only] = this.members;
    return this.members.length === 1 && only?.accepts === undefined ? only?.chain : undefined;
  }

  /** What the rules of the group say to a target, for people. */
  view(target: Target): readonly GroupView[] {
    const ruled = this.members.filter(({ accepts }) => accepts !== undefined);
    return ruled.map(({ chain, rule, accepts }) => ({
      chain: chain.name,
      rule,
      accepts: accepts?.(target) ?? true,
    }));
  }

  /** Those whose rules take the target. */
  fitting(target: Target): readonly Member[] {
    return this.members.filter(({ accepts }) => accepts?.(target) ?? true);
  }

  /** Whether a bypass leaves every chain out that may take the target; false if none may. */
  isDirect(target: Target): boolean {
    const fitting = this.fitting(target);
    return (
      fitting.length > 0 && fitting.every(({ chain }) => chain.directHit(target) !== undefined)
    );
  }

  /** undefined: no member's rule accepts the target; the connection must fail. */
  select(request: RouteRequest, peek = false): Member | undefined {
    return this.#selector.select(this.fitting(request), request.hashKey, peek);
  }
}
