/**
 * Metrics in Prometheus' text form (exposition format 0.0.4): GOST's names for services and chains,
 * the usual ones of a process, and what the cores of tungo services count.
 */
import { hostname } from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { ChainCounters, Histogram, ServiceStats } from "./stats.ts";

export interface ServiceSource {
  readonly name: string;
  readonly state: "running" | "ready" | "failed" | "closed";
  readonly stats: ServiceStats;
  /** Counters and gauges of a core by name; absent for proxies. */
  readonly core?: () => CoreNumbers | undefined;
}

export interface CoreNumbers {
  readonly device: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly gauges: Readonly<Record<string, number>>;
}

export interface MetricsSource {
  services(): readonly ServiceSource[];
  readonly chains: ChainCounters;
}

type Labels = Readonly<Record<string, string>>;

/** Lines of one document; a family's HELP and TYPE come once, before its first sample. */
class Page {
  readonly #families = new Map<string, string[]>();

  add(name: string, kind: "counter" | "gauge", help: string, value: number, labels: Labels): void {
    this.#family(name, kind, help).push(sample(name, value, labels));
  }

  histogram(name: string, help: string, values: Histogram, labels: Labels): void {
    const lines = this.#family(name, "histogram", help);
    for (const [index, bound] of values.bounds.entries()) {
      const count = values.counts[index] ?? 0;
      lines.push(sample(`${name}_bucket`, count, { ...labels, le: String(bound) }));
    }
    lines.push(sample(`${name}_bucket`, values.count, { ...labels, le: "+Inf" }));
    lines.push(sample(`${name}_sum`, values.sum, labels));
    lines.push(sample(`${name}_count`, values.count, labels));
  }

  toString(): string {
    return Array.from(this.#families.values(), (lines) => lines.join("\n") + "\n").join("");
  }

  #family(name: string, kind: string, help: string): string[] {
    const known = this.#families.get(name);
    if (known !== undefined) return known;
    const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`];
    this.#families.set(name, lines);
    return lines;
  }
}

function sample(name: string, value: number, labels: Labels): string {
  const parts = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
  const number = Number.isFinite(value) ? String(value) : value > 0 ? "+Inf" : "NaN";
  return `${name}${parts.length === 0 ? "" : `{${parts.join(",")}}`} ${number}`;
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

/** `startedSeconds` is when the process began, by the calendar. */
export function renderMetrics(source: MetricsSource, startedSeconds: number): string {
  const page = new Page();
  const host = hostname();
  const services = source.services();
  page.add("gost_services", "gauge", "Services that run.", services.length, { host });
  addStates(page, services, host);
  for (const service of services) addService(page, service, host);
  for (const { chain, node, connects, errors } of source.chains.nodes.values()) {
    const labels = { host, chain, node };
    const help = "Time until the first node of a chain was ready.";
    page.histogram("gost_chain_node_connect_duration_seconds", help, connects, labels);
    page.add("gost_chain_errors_total", "counter", "Routes that failed.", errors, labels);
  }
  addProcess(page, startedSeconds);
  return page.toString();
}

function addStates(page: Page, services: readonly ServiceSource[], host: string): void {
  for (const state of ["running", "ready", "failed", "closed"] as const) {
    const count = services.filter((service) => service.state === state).length;
    page.add("gost_service_status", "gauge", "Services by state.", count, { host, state });
  }
}

function addService(page: Page, { name, stats, core }: ServiceSource, host: string): void {
  const service = { host, service: name };
  for (const [client, counts] of stats.clients) {
    const labels = { ...service, client };
    const counter = (key: string, help: string, value: number): void => {
      page.add(`gost_service_${key}`, "counter", help, value, labels);
    };
    counter("requests_total", "Connections of clients.", counts.requests);
    counter("transfer_input_bytes_total", "Bytes from clients.", counts.inputBytes);
    counter("transfer_output_bytes_total", "Bytes to clients.", counts.outputBytes);
    counter("handler_errors_total", "Connections that ended badly.", counts.errors);
    const help = "Connections now.";
    page.add("gost_service_requests_in_flight", "gauge", help, counts.inFlight, labels);
  }
  const help = "How long connections lasted.";
  page.histogram("gost_service_request_duration_seconds", help, stats.durations, service);
  const numbers = core?.();
  if (numbers !== undefined) addCore(page, name, numbers);
}

function addCore(page: Page, service: string, { device, counters, gauges }: CoreNumbers): void {
  const labels = { service, device };
  for (const [key, value] of Object.entries(counters)) {
    const drop = /^drop_(.+)$/.exec(key);
    if (drop === null) {
      page.add(`tsgost_${key}_total`, "counter", "Counted by the core.", value, labels);
    } else {
      const reason = { ...labels, reason: drop[1] ?? "" };
      page.add("tsgost_drops_total", "counter", "Packets dropped, by reason.", value, reason);
    }
  }
  for (const [key, value] of Object.entries(gauges)) {
    page.add(`tsgost_${key}`, "gauge", "Measured by the core.", value, labels);
  }
}

const delays = monitorEventLoopDelay({ resolution: 20 });

function addProcess(page: Page, startedSeconds: number): void {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  const gauge = (name: string, help: string, value: number): void => {
    page.add(name, "gauge", help, value, {});
  };
  const cpu = (user + system) / 1e6;
  page.add("process_cpu_seconds_total", "counter", "CPU time, user and system.", cpu, {});
  gauge("process_resident_memory_bytes", "Resident memory.", rss);
  gauge("process_start_time_seconds", "Start of the process since 1970.", startedSeconds);
  gauge("nodejs_heap_used_bytes", "JavaScript objects.", heapUsed);
  gauge("nodejs_external_memory_bytes", "Memory outside of the JavaScript heap.", external);
  delays.enable();
  gauge(
    "nodejs_eventloop_lag_p99_seconds",
    "Delay of the event loop.",
    delays.percentile(99) / 1e9,
  );
  delays.reset();
  page.add("nodejs_info", "gauge", "Version of Node.", 1, { version: process.version });
}
