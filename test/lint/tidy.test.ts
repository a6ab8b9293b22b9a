/** The rules of style that a program can check. Each test lists everything that breaks its rule. */
import ts from "typescript";
import { suite } from "../kit/suite.ts";
import { CORE_LAYERS, HOST_LAYERS, layerFault } from "./layers.ts";
import {
  codeFiles,
  filesUnder,
  importsOf,
  lineOf,
  parse,
  read,
  scripts,
  textFiles,
  walk,
} from "./sources.ts";

const test = suite("lint/tidy");

const CODE = ["assembly", "src", "test", "bench"];
const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 400;
const LONG_FILE_LINES_MAX = 600;
/** A file over 400 lines says why in its header, with these words. */
const LONG_FILE_REASON = /longer than 400 lines/i;
const LINE_MAX = 100;

/** Files that may read the clock of the day or the system's dice, each with its reason. */
const CLOCK_ALLOWED: Readonly<Record<string, string>> = {
  "src/commands/doctor.ts": "looks at the clock itself, and hands it to its checks",
  "src/app.ts": "wires the services: hands time and entropy down",
  "src/core/load.ts": "hands time and entropy to the core",
  "src/log.ts": "log lines carry the time of day",
  "src/serve/cert.ts": "certificates begin and end by the calendar",
  "src/serve/listen-ws.ts": "HTTP answers carry the time of day",
  "src/tun/pcap.ts": "captures carry the time of day",
};

/** What may lie at the top of the repository besides dot-files. */
const TOP_LEVEL = [
  "LICENSE",
  "README.md",
  "asconfig.json",
  "assembly",
  "bench",
  "fixtures",
  "package-lock.json",
  "package.json",
  "prebuilds",
  "src",
  "test",
];

/** Files that something other than an import starts. */
const ENTRIES = [
  "test/mutants/last.ts",
  "test/mutants/run.ts",
  "test/mutants/worker.ts",
  "assembly/index.ts",
  "assembly/probe.ts",
  "src/cli.ts",
  "src/index.ts",
  "src/stack.ts",
  "src/sys/build.ts",
  "test/run.ts",
  "test/fuzz/run.ts",
  "test/sim/run.ts",
  "test/netsim/run.ts",
  "test/requirements/run.ts",
  "test/interop/run.ts",
  "test/replay/run.ts",
  "test/runtimes/run.ts",
  // A process of its own, started by path.
  "test/chain/relay-child.ts",
];

function none(faults: readonly string[]): void {
  if (faults.length > 0) throw new Error(`${faults.length} faults:\n${faults.join("\n")}`);
}

/** Every match of `pattern` in the code of a file, comments and strings left out. */
function inCode(path: string, visit: (node: ts.Node, source: ts.SourceFile) => boolean): string[] {
  const source = parse(path);
  const found: string[] = [];
  walk(source, (node) => {
    if (visit(node, source)) found.push(`${path}:${lineOf(source, node.getStart(source))}`);
  });
  return found;
}

test("the top level holds what the layout says", () => {
  const top = new Set(filesUnder(".").map((path) => path.split("/")[0]!));
  none([...top].filter((name) => !name.startsWith(".") && !TOP_LEVEL.includes(name)));
});

test("the core imports downwards, and layout.ts instead of abi.ts", () => {
  const imports = scripts("assembly").flatMap(importsOf);
  const faults = imports.flatMap(({ from, to, own, typeOnly }) => {
    if (!own) return [`${from} imports ${to}, which is no file of the core`];
    if (to === "assembly/abi.ts" && from !== "assembly/layout.ts") {
      return [`${from} imports abi.ts itself`];
    }
    return layerFault(CORE_LAYERS, from, to, typeOnly) ?? [];
  });
  none(faults);
});

test("the host imports downwards", () => {
  const imports = scripts("src").flatMap(importsOf);
  none(
    imports.flatMap(({ from, to, own, typeOnly, isNamed }) =>
      own && !isNamed ? (layerFault(HOST_LAYERS, from, to, typeOnly) ?? []) : [],
    ),
  );
});

/** Plain JavaScript that imports nothing itself: it runs wherever the facade does. */
const PORTABLE = new Set(["@assemblyscript/loader"]);

test("the facade stack.ts reaches no Node module", () => {
  const seen = new Set<string>();
  const faults: string[] = [];
  const visit = (path: string, way: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const { to, own, typeOnly, isNamed } of importsOf(path)) {
      if (typeOnly || isNamed) continue;
      if (own) visit(to, `${way} -> ${to}`);
      else if (!PORTABLE.has(to)) faults.push(`${way} -> ${to}`);
    }
  };
  if (filesUnder("src").includes("src/stack.ts")) visit("src/stack.ts", "src/stack.ts");
  none(faults);
});

test("the host's libraries are in package.json's dependencies", () => {
  const manifest = JSON.parse(read("package.json")) as { dependencies: Record<string, string> };
  const faults = scripts("src").flatMap((path) =>
    importsOf(path)
      .filter(({ own, to }) => !own && !to.startsWith("node:"))
      .filter(({ to }) => !Object.keys(manifest.dependencies).some((name) => to.startsWith(name)))
      .map(({ to }) => `${path} imports ${to}`),
  );
  none(faults);
});

test(`functions have at most ${FUNCTION_LINES_MAX} lines`, () => {
  const faults = scripts(...CODE).flatMap((path) => {
    const source = parse(path);
    return inCode(path, (node) => {
      if (!ts.isFunctionLike(node)) return false;
      const lines = lineOf(source, node.getEnd()) - lineOf(source, node.getStart(source)) + 1;
      return lines > FUNCTION_LINES_MAX;
    });
  });
  none(faults);
});

test(`files have at most ${FILE_LINES_MAX} lines, ${LONG_FILE_LINES_MAX} with a reason`, () => {
  const faults = codeFiles(...CODE).flatMap((path) => {
    const whole = read(path);
    const count = whole.split("\n").length - 1;
    const header = whole.slice(0, 2000);
    if (path === "assembly/abi.ts" || count <= FILE_LINES_MAX) return [];
    if (count <= LONG_FILE_LINES_MAX && LONG_FILE_REASON.test(header)) return [];
    return [`${path}: ${count} lines`];
  });
  none(faults);
});

test(`lines have at most ${LINE_MAX} characters`, () => {
  const faults = codeFiles(...CODE).flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, i) => {
        // A line that is one long literal cannot be cut without harm to those who search for it.
        const hasLongLiteral = /(["'`/])[^"'`]{60,}\1/.test(line) || line.includes("://");
        return line.length > LINE_MAX && !hasLongLiteral ? [`${path}:${i + 1}`] : [];
      }),
  );
  none(faults);
});

test("every code file begins with what it is for", () => {
  const faults = codeFiles(...CODE).filter((path) => {
    const head = read(path).split("\n").slice(0, 40).join("\n");
    return !/\/\*\*|\/\*|^\/\/ /m.test(head);
  });
  none(faults);
});

test("no clock of the day and no dice outside the files that hand them down", () => {
  const faults = scripts(...CODE)
    .filter((path) => !(path in CLOCK_ALLOWED))
    .flatMap((path) =>
      inCode(path, (node, source) => {
        if (ts.isPropertyAccessExpression(node)) {
          return ["Date.now", "Math.random"].includes(node.getText(source));
        }
        return (
          ts.isNewExpression(node) &&
          node.expression.getText(source) === "Date" &&
          (node.arguments?.length ?? 0) === 0
        );
      }),
    );
  none(faults);
});

test("no default exports, no enums, no any", () => {
  const isExempt = (path: string): boolean => path === "test/lint/eslint.config.js";
  const host = codeFiles("src", "test", "bench").filter((path) => /\.[jt]s$/.test(path));
  const faults = host
    .filter((path) => !isExempt(path))
    .flatMap((path) =>
      inCode(
        path,
        (node) =>
          ts.isExportAssignment(node) ||
          (node.kind === ts.SyntaxKind.DefaultKeyword && ts.isFunctionLike(node.parent)) ||
          ts.isEnumDeclaration(node) ||
          node.kind === ts.SyntaxKind.AnyKeyword,
      ),
    );
  none(faults);
});

test("the core has no managed objects, closures, exceptions or free decorators", () => {
  const faults = scripts("assembly").flatMap((path) =>
    inCode(path, (node) => {
      if (ts.isTryStatement(node) || ts.isThrowStatement(node)) return true;
      if (ts.isNewExpression(node) || ts.isArrowFunction(node)) return true;
      return ts.isFunctionExpression(node) || ts.isTemplateExpression(node);
    }),
  );
  none(faults);
});

test("numbers of the boundary are spelled in abi.ts alone", () => {
  const names = new Set<string>();
  const bases = new Map<string, string>();
  walk(parse("assembly/abi.ts"), (node) => {
    if (!ts.isVariableDeclaration(node) || node.initializer === undefined) return;
    const name = node.name.getText();
    names.add(name);
    const value = node.initializer.getText();
    if (name.endsWith("_BASE") && /^\d{6,}$/.test(value)) bases.set(value, name);
  });
  const faults = scripts("assembly", "src")
    .filter((path) => path !== "assembly/abi.ts")
    .flatMap((path) => {
      const again = inCode(
        path,
        (node) =>
          ts.isVariableDeclaration(node) &&
          names.has(node.name.getText()) &&
          node.initializer !== undefined &&
          ts.isNumericLiteral(node.initializer),
      );
      const spelled = inCode(path, (node) => ts.isNumericLiteral(node) && bases.has(node.text));
      return [...again, ...spelled];
    });
  none(faults);
});

test("abi.ts holds exported numbers only", () => {
  const source = parse("assembly/abi.ts");
  none(
    source.statements
      .filter((statement) => {
        if (!ts.isVariableStatement(statement)) return true;
        const exported = statement.modifiers?.[0]?.kind === ts.SyntaxKind.ExportKeyword;
        const isConst = (statement.declarationList.flags & ts.NodeFlags.Const) !== 0;
        return !exported || !isConst;
      })
      .map((statement) => `line ${lineOf(source, statement.getStart(source))}`),
  );
});

test("nothing is left over: no markers, no debugger, no focused tests", () => {
  const marker = new RegExp(
    `\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`,
  );
  const faults = textFiles()
    .filter((path) => path !== "package-lock.json")
    .flatMap((path) =>
      read(path)
        .split("\n")
        .flatMap((line, i) => (marker.test(line) ? [`${path}:${i + 1}`] : [])),
    );
  const debuggers = scripts(...CODE).flatMap((path) =>
    inCode(path, (node) => ts.isDebuggerStatement(node)),
  );
  const focused = scripts("test").flatMap((path) =>
    inCode(
      path,
      (node, source) =>
        ts.isCallExpression(node) && /^test\.(only|skip)$/.test(node.expression.getText(source)),
    ),
  );
  none([...faults, ...debuggers, ...focused]);
});

test("no merge was left half done", () => {
  const marker = /^(<{7}|>{7}|\|{7})( |$)/;
  const faults = textFiles().flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, i) => (marker.test(line) ? [`${path}:${i + 1}`] : [])),
  );
  none(faults);
});

test("tests use the kit, never uvu's own test", () => {
  const faults = scripts("test")
    .filter((path) => path !== "test/kit/suite.ts")
    .flatMap((path) => importsOf(path).filter(({ to }) => to === "uvu"))
    .map(({ from }) => from);
  none(faults);
});

test("every file is reached from an entry", () => {
  const all = scripts(...CODE);
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const { to, own } of importsOf(path)) {
      if (own && to.endsWith(".ts")) visit(to);
    }
  };
  const isEntry = (path: string): boolean =>
    ENTRIES.includes(path) || path.endsWith(".test.ts") || path.startsWith("bench/");
  all.filter(isEntry).forEach(visit);
  none(all.filter((path) => !seen.has(path) && !path.endsWith(".d.ts")));
});

test("every fixture is documented", () => {
  const files = filesUnder("fixtures");
  const faults = files.filter((path) => {
    if (path.endsWith(".md")) return false;
    // Named by their hash; fixtures/fuzz/README.md says what all of them are.
    if (/^fixtures\/fuzz\/(?!found)[a-z0-9-]+\/[0-9a-f]{8}$/.test(path)) return false;
    const name = path.split("/").at(-1)!;
    if (/\.pcap(ng)?$/.test(name)) return !files.includes(path.replace(/\.pcap(ng)?$/, ".md"));
    if (name.endsWith(".json") && /"(about|description)"/.test(read(path))) return false;
    if (read("README.md").includes(path)) return false;
    const folder = path.slice(0, -name.length);
    const isAbove = (doc: string): boolean => folder.startsWith(doc.replace(/[^/]*$/, ""));
    return !files.some((doc) => doc.endsWith(".md") && isAbove(doc) && read(doc).includes(name));
  });
  none(faults);
});

test.run();
