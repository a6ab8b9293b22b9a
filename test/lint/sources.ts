/** The project's own text files, and what the TypeScript parser sees in them. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");

const SKIPPED = ["node_modules", "dist", "build", ".git", ".cache", "prebuilds"];
const TEXT = /\.(ts|js|mjs|json|md|c|h|svg|yaml|yml|sh|txt)$/;

/** Paths from the root, sorted. */
export function filesUnder(folder: string): string[] {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => !SKIPPED.includes(entry.name) && !entry.isSymbolicLink())
    .flatMap((entry) => {
      const name = join(folder, entry.name);
      return entry.isDirectory() ? filesUnder(name) : [name];
    })
    .sort();
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** All text files; code only in the given folders. */
export function textFiles(...folders: readonly string[]): string[] {
  return (folders.length === 0 ? ["."] : folders).flatMap(filesUnder).filter((f) => TEXT.test(f));
}

export function codeFiles(...folders: readonly string[]): string[] {
  return textFiles(...folders).filter((path) => /\.(ts|js|c|h)$/.test(path));
}

export function scripts(...folders: readonly string[]): string[] {
  return codeFiles(...folders).filter((path) => path.endsWith(".ts"));
}

const parsed = new Map<string, ts.SourceFile>();

export function parse(path: string): ts.SourceFile {
  let source = parsed.get(path);
  if (source === undefined) {
    source = ts.createSourceFile(path, read(path), ts.ScriptTarget.ES2022, true);
    parsed.set(path, source);
  }
  return source;
}

export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

export function lineOf(source: ts.SourceFile, position: number): number {
  return source.getLineAndCharacterOfPosition(position).line + 1;
}

export interface Import {
  readonly from: string;
  /** Path from the root if it is one of our files, else the bare specifier. */
  readonly to: string;
  readonly own: boolean;
  readonly typeOnly: boolean;
  /** Not imported but named, as something to run: a worker, a program. */
  readonly isNamed: boolean;
}

/** A relative specifier to the file it means: as written, with .ts, or .js standing for .ts. */
function target(path: string, specifier: string): string | undefined {
  const plain = relative(ROOT, resolve(ROOT, dirname(path), specifier));
  const candidates = [plain, `${plain}.ts`, plain.replace(/\.js$/, ".ts")];
  return candidates.find((name) => /\.\w+$/.test(name) && existsSync(join(ROOT, name)));
}

function isTypeOnly(node: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isExportDeclaration(node)) return node.isTypeOnly;
  const clause = node.importClause;
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const named = clause.namedBindings;
  if (clause.name !== undefined || named === undefined || !ts.isNamedImports(named)) return false;
  return named.elements.length > 0 && named.elements.every((element) => element.isTypeOnly);
}

/** Static and dynamic imports, re-exports, and strings that name one of our files (workers). */
export function importsOf(path: string): Import[] {
  const found: Import[] = [];
  const add = (specifier: string, typeOnly: boolean, isNamed: boolean): void => {
    const own = specifier.startsWith(".");
    const to = own ? target(path, specifier) : specifier;
    if (to !== undefined) found.push({ from: path, to, own, typeOnly, isNamed });
  };
  walk(parse(path), (node) => {
    const declared = ts.isImportDeclaration(node) || ts.isExportDeclaration(node);
    if (declared && node.moduleSpecifier !== undefined) {
      const { text } = node.moduleSpecifier as ts.StringLiteral;
      add(text, isTypeOnly(node), false);
    } else if (ts.isStringLiteralLike(node) && /^[\w./-]+\.[jt]s$/.test(node.text)) {
      const parent = node.parent;
      const isDynamic =
        ts.isCallExpression(parent) && parent.expression.kind === ts.SyntaxKind.ImportKeyword;
      if (!ts.isImportDeclaration(parent) && !ts.isExportDeclaration(parent)) {
        add(node.text.startsWith(".") ? node.text : `./${node.text}`, false, !isDynamic);
      }
    }
  });
  return found;
}
