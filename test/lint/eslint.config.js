import { fileURLToPath } from "node:url";
import tseslint from "typescript-eslint";

/** The host is checked with types; the core is AssemblyScript, so only rules that need none apply. */
export default tseslint.config(
  { ignores: ["**/dist/**", "**/build/**", "**/node_modules/**"] },
  {
    files: ["src/**/*.ts"],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: {
        project: ["./src/tsconfig.json"],
        tsconfigRootDir: fileURLToPath(new URL("../..", import.meta.url)),
      },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": "off",
      "@typescript-eslint/no-non-null-assertion": "error",
      "no-restricted-syntax": [
        "error",
        { selector: "TSEnumDeclaration", message: "no enum" },
        { selector: "ExportDefaultDeclaration", message: "no default exports" },
      ],
      "max-params": ["error", 5],
    },
  },
  {
    files: ["assembly/**/*.ts"],
    extends: [...tseslint.configs.strict],
    rules: {
      "@typescript-eslint/no-extraneous-class": "off",
      "@typescript-eslint/no-unused-vars": "off",
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-unused-expressions": "off",
      "no-loss-of-precision": "off",
      "prefer-const": "off",
      "max-params": ["error", 6],
    },
  },
  {
    files: ["test/**/*.ts", "bench/**/*.ts"],
    extends: [...tseslint.configs.recommended],
    rules: { "@typescript-eslint/no-non-null-assertion": "off" },
  },
);
