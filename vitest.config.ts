import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["packages/*/src/**/*.test.ts", "test/**/*.test.ts"],
    pool: "forks",
    isolate: false,
    testTimeout: 30_000,
    reporters: ["default", "./scripts/plain-reporter.ts"],
  },
});
