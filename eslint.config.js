// SPDX-License-Identifier: MIT
// The strict, type-aware rules of typescript-eslint, for the product and its
// tests alike. Layout is left to Prettier.

import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Package -> the one module that may import it: everything else speaks to that module. */
const OWNERS = {
  convict: 'src/config.ts',
  'smol-toml': 'src/config.ts',
  pg: 'src/probe/connection.ts',
  'prom-client': 'src/metrics.ts',
  'sd-notify': 'src/systemd.ts',
  uvu: 'test/helpers/suite.ts',
  'uvu/assert': 'test/helpers/suite.ts',
  'playwright-core': 'test/browser/browser.ts',
};

/** @param {string | undefined} file the module that is looked at */
function foreignPackages(file) {
  const paths = Object.entries(OWNERS)
    .filter(([, owner]) => owner !== file)
    .map(([name, owner]) => ({ name, message: `Only ${owner} imports it.` }));
  return { 'no-restricted-imports': ['error', { paths }] };
}

export default defineConfig(
  { ignores: ['dist/', 'build/', 'native/build/', 'coverage/'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      // The project service takes the nearest tsconfig.json: that of the root for src/, test/tsconfig.json for test/.
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // Numbers in messages are safe and wanted; objects are not.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      eqeqeq: 'error',
      'no-console': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'Names are exported, nothing is the default.' },
        { selector: "MemberExpression[object.name='Date'][property.name='now']", message: 'Use performance.now().' },
      ],
      ...foreignPackages(undefined),
    },
  },
  // Declarations describe packages as they are, default exports included.
  {
    files: ['**/*.d.ts'],
    rules: { '@typescript-eslint/consistent-type-imports': 'off', 'no-restricted-syntax': 'off' },
  },
  // Scripts in tests speak to their parent by standard output.
  { files: ['test/**/*.ts'], rules: { 'no-console': 'off' } },
  ...[...new Set(Object.values(OWNERS))].map((file) => ({ files: [file], rules: foreignPackages(file) })),
);
