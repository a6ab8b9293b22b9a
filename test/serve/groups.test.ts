/** Multicast groups in front of a mapping: what was named passes, in runs and in order. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { parseIp } from "../../src/config/net.ts";
import type { Core } from "../../src/core/core.ts";
import type { FlowFacts, FlowRouter } from "../../src/core/flow.ts";
import { onlyGroups } from "../../src/serve/tungo/groups.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/groups");

/** The runs of records that reach the carrier when these destinations are sent to. */
function passed(groups: readonly string[], destinations: readonly string[]): string[] {
  const buffer = new ArrayBuffer(abi.STAGE_BASE);
  const core = { u8: new Uint8Array(buffer), u16: new Uint16Array(buffer) } as unknown as Core;
  for (const [index, text] of destinations.entries()) {
    const { family, bytes } = parseIp(text)!;
    const record = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
    core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] = family;
    core.u8.set(bytes.subarray(0, family === 4 ? 4 : 16), record + abi.DGRAM_FAR_OFF);
  }
  const calls: string[] = [];
  const router: FlowRouter = {
    open: () => {
      throw new Error("no flow is opened here");
    },
    mapping: () => ({
      datagrams: (first, count) => calls.push(`${first}+${count}`),
      closed: () => calls.push("closed"),
    }),
    echo: (record) => calls.push(`echo ${record}`),
  };
  const filtered = onlyGroups(
    router,
    groups.map((text) => parseIp(text)!),
    core,
  );
  const carrier = filtered.mapping({} as FlowFacts);
  carrier.datagrams(0, destinations.length);
  carrier.closed();
  filtered.echo(3);
  return calls;
}

test("single addresses and named groups pass, other groups are dropped", () => {
  const groups = ["224.0.0.251", "ff02::fb"];
  const end = ["closed", "echo 3"];
  assert.equal(passed(groups, ["192.0.2.1", "224.0.0.251"]), ["0+2", ...end]);
  assert.equal(passed(groups, ["224.0.0.252"]), end);
  assert.equal(passed(groups, ["239.255.255.255", "192.0.2.1", "240.0.0.1"]), ["1+2", ...end]);
  const mixed = ["ff02::fb", "ff02::fc", "2001:db8::1", "fe80::1", "ff02::1", "ff02::1"];
  assert.equal(passed(groups, mixed), ["0+1", "2+2", ...end]);
  assert.equal(passed(groups, []), end);
});

test.run();
